"""The privacy manifest: what leaves a client in a run, group by group, and what never does."""

import pathlib
from typing import Any

from pfrec import files, metrics
from tff_process import federated


def of(training: federated.Federation) -> "dict[str, Any]":
    """The manifest of a training, as plain data.

    Shapes and bytes are those of one client and one aggregation, of which a round has `aggregations_per_round`. `uploads` and `downloads` list
    everything that crosses the wire; what is in neither stays with its client, as do the `kept_copies` of what an algorithm with personal models
    holds beside the model.
    """
    layout = training.layout
    table = training.algorithm.policy.table(training.tagged)
    uploads = [
        {"what": slot.name, "group": slot.group, "shape": list(slot.shape), "bytes": _bytes(slot.shape)} for slot in layout.uploaded
    ]
    uploads += [
        {"what": f"seen/{slot.name}", "group": slot.group, "shape": [slot.shape[0]], "bytes": _bytes(slot.shape[:1])}
        for slot in layout.slots
        if slot.counts_rows
    ]
    tasks = len(training.dataset.schema.tasks)
    uploads += [
        {"what": "examples", "group": "", "shape": [], "bytes": 4},
        {"what": "loss", "group": "", "shape": [], "bytes": 4},
        {"what": "serves", "group": "", "shape": [tasks], "bytes": 4 * tasks},
        {"what": "metrics", "group": "", "shape": [tasks, len(metrics.METRICS)], "bytes": 8 * tasks * len(metrics.METRICS)},
    ]
    downloads = [
        {"what": slot.name, "group": slot.group, "shape": list(slot.shape), "bytes": _bytes(slot.shape)} for slot in layout.uploaded
    ]
    downloads += [
        {"what": f"template/{slot.name}", "group": slot.group, "shape": list(slot.shape), "bytes": _bytes(slot.shape)}
        for slot in training.algorithm.anchors(layout)
    ]
    return {
        "algorithm": training.algorithm.name,
        "groups": table,
        "uploads": uploads,
        "downloads": downloads,
        "upload_bytes": sum(item["bytes"] for item in uploads),
        "download_bytes": sum(item["bytes"] for item in downloads),
        "aggregations_per_round": training.stretches,
        "never_leaves": [row["group"] for row in table if not row["leaves"]] + ["optimizer"],
        "kept_copies": [
            {"what": item.name, "shape": list(item.shape), "bytes": _bytes(item.shape)}
            for item in training.algorithm.client.kept(layout)
        ],
    }


def write(path: pathlib.Path, training: federated.Federation) -> None:
    """Writes the manifest of a training."""
    files.write_json(path, of(training))


def _bytes(shape: "tuple[int, ...]") -> int:
    size = 4
    for length in shape:
        size *= length
    return size
