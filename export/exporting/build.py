"""Builds one version of a model into a directory, and holds it against the trained model."""

import dataclasses
import pathlib
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from export.checks import answers as answers_lib
from export.checks import version as version_checks
from export.exporting import trained
from export.graph import folded_network, folding, onnx_graph, router, serving_module
from export.graph import requests as requests_lib
from export.version import manifest, model_card, sample_request, warmup
from pfrec import coarsening, errors

_RANDOM_ROWS = 256
_SAMPLE_ROWS = 2
# Timed calls per batch size: many of the quick ones, whose times spread most.
_REPEATS = {1: 100, 32: 50, 512: 10}


@dataclasses.dataclass(frozen=True)
class Options:
    """How a version is made.

    Attributes:
      fold: whether inference folding is applied where the network allows it.
      embedding_dtype: of embedding tables that are looked up, `float32` or `float16`.
      least_rows: training rows that an id of a private feature must be in to keep its own row
        (`hidden_ids`); 0 keeps all.
      onnx: whether a scenario's model is also written as ONNX, into the same version.
    """

    fold: bool = True
    embedding_dtype: str = "float32"
    least_rows: int = coarsening.FLOOR
    onnx: bool = False


@dataclasses.dataclass(frozen=True)
class Built:
    """A version that was built.

    Attributes:
      report: what was checked, all of it passed.
      made: how it was made: `folded`, `tables`, `embedding_dtype`, and by how much rounding moved a
        probability.
      latency_ms: median milliseconds of a call of `serving_default` through the C library here, by
        batch size.
      onnx_latency_ms: the same of its ONNX file in ONNX Runtime; empty without one.
    """

    report: version_checks.Report
    made: "dict[str, Any]"
    latency_ms: "dict[str, float]"
    onnx_latency_ms: "dict[str, float]"


def build(
    model: trained.Exportable, name: str, directory: pathlib.Path, options: Options = Options()
) -> Built:
    """Writes a version of a model into a directory and holds it against the trained model.

    Args:
      model: the trained model of a scenario, or those of all scenarios to make a router.
      name: of the served model.
      directory: to write to.
      options: how to make it.

    Raises:
      PfrecError: where it cannot be written, a check fails, or the options do not fit the network.
    """
    made = write(model, name, directory, options)
    real, served = model.requests(), model.served
    requests = (
        real,
        requests_lib.mixed(served, real, _RANDOM_ROWS, seed=1),
        requests_lib.hostile(served),
    )
    cases = [answers_lib.Case(request, model.predict(request)) for request in requests]
    report = version_checks.verify(directory, cases, _REPEATS)
    report.require()
    times = (
        {str(rows): ms for rows, ms in found.items()}
        for found in (report.latency_ms, report.onnx_latency_ms)
    )
    return Built(report, made, *times)


def write(
    model: trained.Exportable, name: str, directory: pathlib.Path, options: Options = Options()
) -> "dict[str, Any]":
    """Writes a version of a model into a directory, and checks nothing but its variables;
    see `build`.

    The warm-up requests ship with the version, so they are random rows and none of the scenario's.

    Returns:
      How it was made.

    Raises:
      PfrecError: where it cannot be written, the options do not fit the network, or the trained
        model's predictions are NaN.
    """
    real, served = model.requests(), model.served
    exact = model.predict(real)
    parts = model.models if isinstance(model, trained.RoutedModels) else (model,)
    networks, described = zip(*(_network(part, options) for part in parts))
    made: dict[str, Any] = dict(described[0])
    if options.embedding_dtype != "float32":
        # From here on the trained model has the rounded tables too, so that all else is held to the
        # same tolerance as ever.
        made["rounding_moved"] = max(
            float(np.abs(exact[task] - values).max())
            for task, values in model.predict(real).items()
        )
    network: Any = networks[0]
    scenario: Optional[str] = parts[0].scenario
    if isinstance(model, trained.RoutedModels):
        network, scenario = router.RoutedNetwork(dict(zip(served.scenarios, networks))), None
    variables = serving_module.save(
        serving_module.ServingModule(network, served), served, directory
    )
    if options.onnx and scenario is not None:
        made["onnx"] = onnx_graph.FILE
        told = {"model": name, "run": str(model.run["id"]), "round": str(model.run["round"])}
        onnx_graph.write(network.folded, served, directory / onnx_graph.FILE, told)
    shown = requests_lib.random(served, max(warmup.SIZES), seed=2)
    warmup.write(directory, warmup.requests(name, served, shown))
    sample_request.write(directory, requests_lib.random(served, _SAMPLE_ROWS, seed=3))
    expected = {task: values.tolist() for task, values in model.predict(shown).items()}
    nan = [task for task, values in expected.items() if not np.isfinite(values).all()]
    if nan:
        raise errors.PfrecError(
            f"{name}: the trained model's predictions of {', '.join(nan)} are NaN; train again "
            "with a smaller --learning_rate, or with numerical columns normalised"
        )
    whole = manifest.describe(
        model=name,
        scenario=scenario,
        served=served,
        variables=variables,
        run=model.run,
        made=made,
        expected=expected,
    )
    model_card.write(
        directory, whole, served, {part.scenario: part.metrics for part in parts if part.metrics}
    )
    manifest.write(directory, whole)
    return made


def _network(model: trained.TrainedModel, options: Options) -> "tuple[Any, dict[str, Any]]":
    """The network to serve, and how it was made;
    rounds the trained model's tables where the options say so.
    """
    foldable = options.fold and folding.can_fold(model.network)
    if options.embedding_dtype != "float32" and not foldable:
        raise errors.PfrecError(
            f"{model.scenario}: --embedding_dtype={options.embedding_dtype} needs --fold and an "
            "MMoE; leave it at float32"
        )
    if options.onnx and not foldable:
        raise errors.PfrecError(
            f"{model.scenario}: --onnx needs --fold and an MMoE, since folded networks alone are "
            "written as ONNX; leave it out"
        )
    if not foldable:
        return model.network, {"embedding_dtype": "float32", "folded": False, "tables": []}
    folded = folding.fold(
        model.network, embedding_dtype=options.embedding_dtype, served=model.served.tasks()
    )
    if options.embedding_dtype != "float32":
        for position, table in folded.lookups:
            model.network.embeddings[position].table.assign(tf.constant(table.astype(np.float32)))
    tables = [model.schema.categorical[position].name for position in folded.folded]
    return folded_network.FoldedNetwork(folded), {
        "embedding_dtype": options.embedding_dtype,
        "folded": True,
        "tables": tables,
    }
