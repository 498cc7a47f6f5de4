"""The REST protocol of TensorFlow Serving: paths, and JSON from and to arrays.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from export import interface

_DTYPES = {"DT_INT64": "int64", "DT_FLOAT": "float32", "DT_STRING": "string"}


def path(model: str, version: Optional[int] = None) -> str:
    """The path of a model, or of one version of it."""
    return f"/v1/models/{model}" + ("" if version is None else f"/versions/{version}")


def value(item: Any) -> Any:
    """One value as JSON: bytes as text where they are UTF-8, else in base 64;
    an array as a list.
    """
    if isinstance(item, np.ndarray):
        return [value(part) for part in item]
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(item).decode()}
    return item.item() if isinstance(item, np.generic) else item


def columns(arrays: Mapping[str, np.ndarray]) -> "dict[str, Any]":
    """The columnar format, the value of `inputs`."""
    return {name: [value(item) for item in values] for name, values in arrays.items()}


def instances(arrays: Mapping[str, np.ndarray]) -> "list[Any]":
    """The row format, the value of `instances`: one object per row,
    or with a single input its bare values.
    """
    if len(arrays) == 1:
        return [value(item) for item in next(iter(arrays.values()))]
    return examples(arrays)


def examples(arrays: Mapping[str, np.ndarray]) -> "list[dict[str, Any]]":
    """One object per row, as in the value of `examples`."""
    return [dict(zip(arrays, map(value, row))) for row in zip(*arrays.values())]


def outputs(answer: Mapping[str, Any]) -> "dict[str, np.ndarray]":
    """Probabilities, float32 [rows] by task, of an answer in either format;
    a single output has no name, here ''.
    """
    if "predictions" in answer:
        rows = answer["predictions"]
        if rows and isinstance(rows[0], dict):
            return {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
        return {"": np.array(rows, np.float32)}
    given = answer["outputs"]
    return {
        name: np.array(v, np.float32)
        for name, v in (given if isinstance(given, dict) else {"": given}).items()
    }


def signatures(metadata: Mapping[str, Any]) -> "dict[str, interface.Signature]":
    """The signatures that the answer to a request for metadata describes,
    TensorFlow's own excepted.
    """

    def tensors(described: Mapping[str, Any]) -> "dict[str, str]":
        found = {}
        for name, info in described.items():
            sizes = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
            found[name] = (
                f"{_DTYPES.get(info['dtype'], info['dtype'])} "
                f"{[None if size < 0 else size for size in sizes]}"
            )
        return found

    return {
        name: interface.Signature(s["method_name"], tensors(s["inputs"]), tensors(s["outputs"]))
        for name, s in metadata["metadata"]["signature_def"]["signature_def"].items()
        if not name.startswith("__")
    }
