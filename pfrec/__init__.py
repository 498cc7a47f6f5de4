"""Recommendation models for many scenarios and tasks, trained where the rows are.

The public names, each loaded when it is first used, so that importing the package costs nothing
and TensorFlow is imported only by what needs it:

| name | what it is |
| --- | --- |
| `convert` | raw files to a dataset directory |
| `Dataset`, `Schema` | a dataset on disk; its columns and tasks |
| `Plan` | what a training is to do, as data |
| `train`, `compare` | one training; several algorithms on the same splits and seeds |
| `evaluate` | metrics of a run's saved models |
| `export`, `verify` | versions for TensorFlow Serving; the checks of one version |
| `Client`, `RestClient` | callers of a model server, by gRPC and by REST |

    >>> import pfrec
    >>> pfrec.__all__  # doctest: +NORMALIZE_WHITESPACE
    ['Client', 'Dataset', 'Plan', 'RestClient', 'Schema', '__version__', 'compare', 'convert',
     'evaluate', 'export', 'train', 'verify']

The examples in the docstrings of these names are one story, told in the order of the table; the
tests run it. `examples/` holds whole programs.
"""

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

# This package is the ground floor: what stands above it is looked up by its name. `__init__.pyi`
# says the same to type checkers.
_HOMES = {
    "Client": "export.client.client:GrpcClient",
    "Dataset": "pfrec.data.dataset.dataset:Dataset",
    "Plan": "tff_process.plan:Plan",
    "RestClient": "export.client.client:RestClient",
    "Schema": "pfrec.data.schema:Schema",
    "compare": "tff_process.comparison.compare:compare",
    "convert": "pfrec.commands.convert:convert",
    "evaluate": "pfrec.evaluation:evaluate",
    "export": "export.commands.export:export",
    "train": "tff_process.training.loop:train",
    "verify": "export.checks.version:verify",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *_HOMES})
