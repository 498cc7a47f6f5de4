"""Requests that must be errors, whatever the model:
each with words that its refusal has to hold.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from export import interface
from export.graph import requests


@dataclasses.dataclass(frozen=True)
class Malformed:
    """A request that must be refused.

    Attributes:
      name: what is wrong with it.
      signature: the signature it is sent to.
      inputs: the tensors.
      words: that the message of the refusal has to hold.
    """

    name: str
    signature: str
    inputs: Mapping[str, np.ndarray]
    words: str


def malformed(served: interface.Interface) -> "list[Malformed]":
    """Inputs of another rank and of unequal length, examples that lack a feature or have one of
    another type, and unknown scenarios.
    """
    request = requests.random(served, 3, seed=0)
    first = next(iter(request))
    found = [
        Malformed(
            "an input of another rank",
            interface.SERVE,
            {**request, first: request[first][:, np.newaxis]},
            "rank 1",
        )
    ]
    if len(request) > 1:
        found.append(
            Malformed(
                "inputs of unequal length",
                interface.SERVE,
                {**request, first: request[first][:2]},
                "all of one length",
            )
        )
    other = np.ones(3, np.float32) if request[first].dtype != np.float32 else np.ones(3, np.int64)
    examples_of = [("an example with another type", {**request, first: other}, f"Key: {first}")]
    # A list that an example lacks is empty, a number has its default.
    single = next(
        (
            name
            for name, values in request.items()
            if name not in served.listed and values.dtype != np.float32
        ),
        None,
    )
    if single is not None:
        lacking = {name: values for name, values in request.items() if name != single}
        examples_of.append(("an example without a feature", lacking, f"Feature: {single}"))
    for name, features, words in examples_of:
        serialized = requests.examples(features) if features else requests.texts([b""] * 3)
        for signature in (interface.CLASSIFY, interface.REGRESS):
            found.append(
                Malformed(
                    f"{name} ({signature})", signature, {interface.EXAMPLES: serialized}, words
                )
            )
    garbage = {interface.EXAMPLES: requests.texts([b"\xff\xff\xff"])}
    found.append(
        Malformed(
            "bytes that are no example", interface.CLASSIFY, garbage, "Could not parse example"
        )
    )
    if served.scenarios:
        unknown = requests.unknown_scenario(served)
        found.append(Malformed("an unknown scenario", interface.SERVE, unknown, "unknown scenario"))
        examples = {interface.EXAMPLES: requests.examples(unknown)}
        found.append(
            Malformed(
                "an unknown scenario (classify)", interface.CLASSIFY, examples, "unknown scenario"
            )
        )
    return found
