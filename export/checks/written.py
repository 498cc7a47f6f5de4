"""The checks of what is written of a version, before anything of it is loaded.

Each returns what was found, as a check's detail, and raises PfrecError where it is not as it is to
be; `Checklist.passed` takes both.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from export import interface
from export.checks import saved_graph
from export.graph import requests as requests_lib
from export.graph import saved_variables
from export.version import manifest as manifest_lib
from export.version import warmup as warmup_lib
from pfrec import amounts, errors


def manifest(directory: pathlib.Path) -> Any:
    """That the manifest can be read; what was found, and its content with the interface in it."""
    value = manifest_lib.read(directory)
    served = manifest_lib.served_by(value, place=str(directory / manifest_lib.FILE))
    return f"model {value['model']}, run {value['run']['id']}, round {value['run']['round']}", (
        value,
        served,
    )


def files(directory: pathlib.Path, value: Mapping[str, Any]) -> str:
    """That all files are as the manifest says."""
    found = manifest_lib.differences(directory, value)
    if found:
        raise errors.PfrecError("; ".join(found))
    return f"{len(value['files'])} files as written"


def warmup(directory: pathlib.Path, value: Mapping[str, Any], served: interface.Interface) -> Any:
    """That the warm-up file asks what the schema has; what was found, and its requests."""
    replays = warmup_lib.read(directory)
    signatures = served.signatures()
    for replay in replays:
        if replay.signature not in signatures:
            raise errors.PfrecError(
                f"a warm-up request is for signature {replay.signature!r}, which the schema "
                "does not have"
            )
        if set(replay.inputs) != set(signatures[replay.signature].inputs):
            raise errors.PfrecError(
                f"a warm-up request to {replay.signature} does not hold exactly the inputs of "
                "the schema"
            )
        if replay.request.model_spec.name != value["model"]:
            raise errors.PfrecError(
                f"a warm-up request is for model {replay.request.model_spec.name!r}, not "
                f"{value['model']!r}"
            )
    missing = sorted(set(signatures) - {replay.signature for replay in replays})
    if missing:
        raise errors.PfrecError(f"no warm-up request for {', '.join(missing)}")
    sizes = sorted({requests_lib.rows(replay.inputs) for replay in replays})
    return (
        f"{len(replays)} requests to {len(signatures)} signatures, of "
        f"{', '.join(map(str, sizes))} rows",
        replays,
    )


def paths(graph: saved_graph.SavedGraph) -> str:
    """That the graph names no file of the machine that made it."""
    if graph.absolute_paths:
        raise errors.PfrecError(
            f"saved_model.pb holds absolute paths: {', '.join(graph.absolute_paths[:5])}"
        )
    return "no absolute path in saved_model.pb"


def operations(graph: saved_graph.SavedGraph) -> str:
    """That the graph has no operation but those of exports."""
    if graph.training_only:
        raise errors.PfrecError(
            f"saved_model.pb holds operations of training: {', '.join(graph.training_only)}"
        )
    if graph.not_allowed:
        raise errors.PfrecError(
            "saved_model.pb holds what no export has, and is not run: "
            f"{', '.join(graph.not_allowed[:10])}"
        )
    return (
        "no operation of training, such as dropout or an optimizer's, and none that no "
        "export has, in "
        "saved_model.pb"
    )


def variables(
    directory: pathlib.Path, value: Mapping[str, Any], graph: saved_graph.SavedGraph
) -> str:
    """That the checkpoint's variables are the manifest's, hold numbers alone, also in rows that no
    request asks for, and the graph reads each.
    """
    found = saved_variables.shapes(directory)
    listed = {name: list(shape) for name, shape in value["variables"].items()}
    if found != listed:
        names = sorted(name for name in {*found, *listed} if found.get(name) != listed.get(name))
        raise errors.PfrecError(f"not as in the manifest: {', '.join(names)}")
    if strange := saved_variables.not_finite(directory):
        narrow = value["made"].get("embedding_dtype") == "float16"
        wider = "export with --embedding_dtype=float32, or " if narrow else ""
        raise errors.PfrecError(
            f"NaN or infinite numbers in {', '.join(strange)}; {wider}train again with a smaller "
            "--learning_rate, or with numerical columns normalised"
        )
    if graph.unreachable:
        raise errors.PfrecError(
            f"not read by {interface.SERVE}: {', '.join(sorted(graph.unreachable))}"
        )
    if len(found) != len(graph.reachable):
        raise errors.PfrecError(
            f"the graph reads {len(graph.reachable)} variables, the checkpoint holds {len(found)}"
        )
    return f"{len(found)} variables, all finite and read by {interface.SERVE}"


def signatures(served: interface.Interface, graph: saved_graph.SavedGraph) -> str:
    """That the graph's signatures are the schema's."""
    wanted = served.signatures()
    if set(wanted) != set(graph.signatures):
        names = ", ".join(sorted(set(wanted) ^ set(graph.signatures)))
        raise errors.PfrecError(f"the signatures {names} are not in both the graph and the schema")
    for name, signature_wanted in sorted(wanted.items()):
        found = graph.signatures[name]
        for what, one, other in (
            ("input", signature_wanted.inputs, found.inputs),
            ("output", signature_wanted.outputs, found.outputs),
            ("method", {name: signature_wanted.method}, {name: found.method}),
        ):
            for key in sorted({*one, *other}):
                if one.get(key) != other.get(key):
                    raise errors.PfrecError(
                        f"{name}: {what} {key!r} is {other.get(key, 'absent')} where the schema "
                        f"says {one.get(key, 'absent')}"
                    )
    return (
        f"{', '.join(sorted(wanted))}: methods, {len(served.inputs())} inputs and "
        f"{amounts.amount(len(served.tasks()), 'task')} as in the schema"
    )
