"""TensorFlow's C library by ctypes: loads a SavedModel as a model server does, without TensorFlow's
Python.

Reference: tensorflow/c/c_api.h and tensorflow/c/tf_tstring.h of TensorFlow 2.14.
"""

import contextlib
import ctypes
import importlib.util
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_STRING = 7
_STRING_BYTES = 24
_SMALL_STRING = 22  # the longest that stands in its own place, with its end
_DTYPES: "dict[int, Any]" = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    9: np.int64,
    10: np.bool_,
}
_TYPE_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}


class _Output(ctypes.Structure):
    _fields_ = (("oper", ctypes.c_void_p), ("index", ctypes.c_int))


class CLibraryError(Exception):
    """TensorFlow's C library refused; the message is its own."""


def _open_library() -> Any:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise CLibraryError("TensorFlow is not installed")
    library = ctypes.CDLL(str(pathlib.Path(spec.origin).with_name("libtensorflow_cc.so.2")))
    pointer, integer, size, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
    functions: dict[str, tuple[Any, list[Any]]] = {
        "TF_NewStatus": (pointer, []),
        "TF_DeleteStatus": (None, [pointer]),
        "TF_GetCode": (integer, [pointer]),
        "TF_Message": (text, [pointer]),
        "TF_NewGraph": (pointer, []),
        "TF_DeleteGraph": (None, [pointer]),
        "TF_DeleteSession": (None, [pointer, pointer]),
        "TF_NewSessionOptions": (pointer, []),
        "TF_LoadSessionFromSavedModel": (
            pointer,
            [pointer, pointer, text, ctypes.POINTER(text), integer, pointer, pointer, pointer],
        ),
        "TF_GraphOperationByName": (pointer, [pointer, text]),
        "TF_AllocateTensor": (pointer, [integer, ctypes.POINTER(ctypes.c_int64), integer, size]),
        "TF_DeleteTensor": (None, [pointer]),
        "TF_TensorData": (pointer, [pointer]),
        "TF_TensorByteSize": (size, [pointer]),
        "TF_TensorType": (integer, [pointer]),
        "TF_NumDims": (integer, [pointer]),
        "TF_Dim": (ctypes.c_int64, [pointer, integer]),
        "TF_StringInit": (None, [pointer]),
        "TF_StringCopy": (None, [pointer, text, size]),
        "TF_StringGetDataPointer": (pointer, [pointer]),
        "TF_StringGetSize": (size, [pointer]),
        "TF_SessionRun": (
            None,
            [
                pointer,
                pointer,
                pointer,
                pointer,
                integer,
                pointer,
                pointer,
                integer,
                pointer,
                integer,
                pointer,
                pointer,
            ],
        ),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Session:
    """A SavedModel loaded with the tag `serve`; calls from several threads at once are fine.

    Args:
      directory: of the model.

    Raises:
      CLibraryError: where the library does not load it.
    """

    def __init__(self, directory: str) -> None:
        self._library = _open_library()
        self._graph = self._library.TF_NewGraph()
        tags = (ctypes.c_char_p * 1)(b"serve")
        options = self._library.TF_NewSessionOptions()
        with self._status() as status:
            self._session = self._library.TF_LoadSessionFromSavedModel(
                options, None, directory.encode(), tags, 1, self._graph, None, status
            )

    @contextlib.contextmanager
    def _status(self) -> Iterator[Any]:
        """A status for one call of the library,
        which is an error afterwards where the library says so.
        """
        status = self._library.TF_NewStatus()
        try:
            yield status
            if self._library.TF_GetCode(status):
                raise CLibraryError(self._library.TF_Message(status).decode(errors="replace"))
        finally:
            self._library.TF_DeleteStatus(status)

    def close(self) -> None:
        """Gives the model's memory back; no call may be under way, or come later."""
        with self._status() as status:
            self._library.TF_DeleteSession(self._session, status)
        self._library.TF_DeleteGraph(self._graph)

    def _outputs(self, names: Sequence[str]) -> Any:
        found = (_Output * len(names))()
        for place, name in zip(found, names):
            operation, _, index = name.partition(":")
            place.oper = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            place.index = int(index or 0)
            if not place.oper:
                raise CLibraryError(f"no operation {operation} in the graph")
        return found

    def _tensor(self, values: np.ndarray) -> Any:
        dims = (ctypes.c_int64 * max(1, values.ndim))(*values.shape)
        if values.dtype != object:
            values = np.ascontiguousarray(values)
            number = _TYPE_NUMBERS[values.dtype]
            tensor = self._library.TF_AllocateTensor(number, dims, values.ndim, values.nbytes)
            ctypes.memmove(self._library.TF_TensorData(tensor), values.ctypes.data, values.nbytes)
            return tensor
        tensor = self._library.TF_AllocateTensor(
            _STRING, dims, values.ndim, _STRING_BYTES * values.size
        )
        start = self._library.TF_TensorData(tensor)
        # A text that fits into its own place is written there in TensorFlow's form, all of them at
        # once: a call of the library for each would take longer than the model.
        flat = values.ravel()
        lengths = np.fromiter(map(len, flat), np.int64, flat.size)
        places = np.zeros((flat.size, _STRING_BYTES), np.uint8)
        places[:, 1:] = (
            flat.astype(f"S{_STRING_BYTES - 1}")
            .view(np.uint8)
            .reshape(flat.size, _STRING_BYTES - 1)
        )
        small = lengths <= _SMALL_STRING
        places[:, 0] = np.where(small, lengths << 2, 0)  # the two low bits: of the small kind
        ctypes.memmove(start, places.ctypes.data, places.nbytes)
        for i in np.flatnonzero(~small).tolist():
            place = start + _STRING_BYTES * i
            self._library.TF_StringInit(place)
            self._library.TF_StringCopy(place, flat[i], int(lengths[i]))
        return tensor

    def _array(self, tensor: Any) -> np.ndarray:
        shape = [self._library.TF_Dim(tensor, i) for i in range(self._library.TF_NumDims(tensor))]
        number = self._library.TF_TensorType(tensor)
        if number == _STRING:
            texts = np.empty(shape, object)
            start = self._library.TF_TensorData(tensor)
            for i in range(texts.size):
                place = start + _STRING_BYTES * i
                pointer, size = (
                    self._library.TF_StringGetDataPointer(place),
                    self._library.TF_StringGetSize(place),
                )
                texts.flat[i] = ctypes.string_at(pointer, size)
            return texts
        if number not in _DTYPES:
            raise CLibraryError(
                f"an output has type number {number}, which is none of those of signatures"
            )
        values = np.empty(shape, _DTYPES[number])
        ctypes.memmove(
            values.ctypes.data,
            self._library.TF_TensorData(tensor),
            self._library.TF_TensorByteSize(tensor),
        )
        return values

    def call(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> "list[np.ndarray]":
        """Feeds tensors by name and fetches others.

        Raises:
          CLibraryError: where the model refuses.
        """
        fed, fetched = self._outputs(list(inputs)), self._outputs(outputs)
        tensors = (ctypes.c_void_p * len(inputs))(
            *(self._tensor(values) for values in inputs.values())
        )
        results = (ctypes.c_void_p * len(outputs))()
        try:
            with self._status() as status:
                self._library.TF_SessionRun(
                    self._session,
                    None,
                    fed,
                    tensors,
                    len(inputs),
                    fetched,
                    results,
                    len(outputs),
                    None,
                    0,
                    None,
                    status,
                )
            return [self._array(tensor) for tensor in results]
        finally:
            for tensor in (*tensors, *results):
                if tensor:
                    self._library.TF_DeleteTensor(tensor)
