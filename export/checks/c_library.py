"""Loads a SavedModel as a model server does: through TensorFlow's C library,
in a fresh process, without TensorFlow's Python.

`run` is the caller's side; the process it starts runs this module:

    python -m export.checks.c_library MODEL_DIR PLAN.json REQUEST.npz RESPONSE.npz

PLAN.json holds per call `inputs` and `outputs`, the names of their tensors in the graph, and
`repeats`. In the npz files array `2.0` is the first tensor of the third call. A tensor of strings
is two arrays: all bytes one after the other, and under `2.0.lengths` the length of each string, in
the tensor's shape. The response of a call that was refused is its message under `2.error`; the
seconds of a call that was repeated are under `2.seconds`.

Reference: tensorflow/c/c_api.h and tensorflow/c/tf_tstring.h of TensorFlow 2.14.
"""

import contextlib
import ctypes
import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import child, errors, files

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
_ERROR_START = "error: "


@dataclasses.dataclass(frozen=True)
class TensorNames:
    """Where a signature's inputs and outputs are in the graph: names such as
    `serving_default_age:0` by input and output name.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a signature.

    Attributes:
      names: of the signature's tensors.
      inputs: an array for every input; text as an object array of bytes.
      repeats: how often the call is made again to be timed.
    """

    names: TensorNames
    inputs: Mapping[str, np.ndarray]
    repeats: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a loaded model gave for one call: the outputs by name, or the message with which it
    refused; and the time of each repeat.
    """

    outputs: Mapping[str, np.ndarray]
    error: Optional[str] = None
    seconds: "tuple[float, ...]" = ()


def run(
    model_directory: pathlib.Path, calls: Sequence[Call], *, timeout: float = 300.0
) -> "list[Answer]":
    """Loads a SavedModel once in a fresh process and calls it.

    Args:
      model_directory: holds saved_model.pb.
      calls: what to call it with.
      timeout: seconds after which the process is stopped.

    Returns:
      An answer per call.

    Raises:
      PfrecError: where the model does not load, or the process dies or takes too long.
    """
    with _folder(model_directory) as folder:
        plan, request, response = (
            pathlib.Path(folder) / name for name in ("plan.json", "request.npz", "response.npz")
        )
        told = [
            {
                "inputs": list(c.names.inputs.values()),
                "outputs": list(c.names.outputs.values()),
                "repeats": c.repeats,
            }
            for c in calls
        ]
        plan.write_text(json.dumps(told), encoding="utf-8")
        arrays: dict[str, np.ndarray] = {}
        for number, call in enumerate(calls):
            for position, name in enumerate(call.names.inputs):
                arrays.update(_pack(f"{number}.{position}", call.inputs[name]))
        _write_arrays(request, arrays)
        # A server's answer must not depend on a GPU here; the child also finds this package
        # wherever the caller's came from.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        root = str(pathlib.Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(
            p for p in (root, os.environ.get("PYTHONPATH", "")) if p
        )
        command = [
            sys.executable,
            "-m",
            "export.checks.c_library",
            *map(str, (model_directory, plan, request, response)),
        ]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                timeout=timeout,
                check=False,
                preexec_fn=child.end_with_parent(),
            )
        except subprocess.TimeoutExpired:
            raise errors.PfrecError(
                f"{model_directory}: no answer from the C library within {timeout:g} s; export the "
                "model again"
            ) from None
        if done.returncode:
            reason = _reason(done.returncode, done.stderr.decode(errors="replace"))
            raise errors.PfrecError(
                f"{model_directory}: does not load through the C library ({reason}); export the "
                "model again"
            )
        with np.load(response) as given:
            return [_answer(given, number, call.names) for number, call in enumerate(calls)]


@contextlib.contextmanager
def _folder(model_directory: pathlib.Path) -> Iterator[str]:
    """A folder for requests, which may be a scenario's own rows: beside a version that is not
    published yet, where the next export removes what a kill leaves of it; else the system's.

    Raises:
      PfrecError: where it is full.
    """
    staged = model_directory.name.startswith(files.TEMPORARY_PREFIX)
    place = model_directory.parent if staged else pathlib.Path(tempfile.gettempdir())
    with files.readable_errors(place):
        prefix = f"{files.TEMPORARY_PREFIX}requests-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as folder:
            yield folder


def _reason(code: int, stderr: str) -> str:
    told = [
        line[len(_ERROR_START) :] for line in stderr.splitlines() if line.startswith(_ERROR_START)
    ]
    if told:
        return told[-1]
    if code < 0:
        return f"the process was stopped by {signal.Signals(-code).name}"
    return (stderr.strip().splitlines() or [f"status {code}"])[-1]


def _answer(given: Any, number: int, names: TensorNames) -> Answer:
    if f"{number}.error" in given:
        return Answer({}, given[f"{number}.error"].tobytes().decode(errors="replace"))
    outputs = {
        name: _unpack(given, f"{number}.{position}") for position, name in enumerate(names.outputs)
    }
    seconds = given.get(f"{number}.seconds", ())
    return Answer(outputs, None, tuple(float(s) for s in seconds))


def _write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def _pack(key: str, values: np.ndarray) -> "dict[str, np.ndarray]":
    values = np.asarray(values)
    if values.dtype.kind not in "OSU":
        return {key: values}
    texts = [v.encode() if isinstance(v, str) else bytes(v) for v in values.ravel()]
    lengths = np.array([len(t) for t in texts], np.int64).reshape(values.shape)
    return {key: np.frombuffer(b"".join(texts), np.uint8), f"{key}.lengths": lengths}


def _unpack(arrays: Any, key: str) -> np.ndarray:
    if f"{key}.lengths" not in arrays:
        return arrays[key]
    content, lengths = arrays[key].tobytes(), arrays[f"{key}.lengths"]
    values = np.empty(lengths.size, object)
    end = 0
    for i, length in enumerate(lengths.ravel()):
        start, end = end, end + int(length)
        values[i] = content[start:end]
    return values.reshape(lengths.shape)


# The fresh process --------------------------------------------------------------------------------


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


def _serve(model_directory: str, plan_path: str, request_path: str, response_path: str) -> None:
    plan = json.loads(pathlib.Path(plan_path).read_text(encoding="utf-8"))
    session = Session(model_directory)
    response: dict[str, np.ndarray] = {}
    with np.load(request_path) as request:
        for number, told in enumerate(plan):
            inputs = {
                tensor: _unpack(request, f"{number}.{i}") for i, tensor in enumerate(told["inputs"])
            }
            seconds = []
            try:
                results = session.call(inputs, told["outputs"])
                for _ in range(told["repeats"]):
                    start = time.perf_counter()
                    session.call(inputs, told["outputs"])
                    seconds.append(time.perf_counter() - start)
            except CLibraryError as error:
                response[f"{number}.error"] = np.frombuffer(str(error).encode(), np.uint8)
                continue
            for i, values in enumerate(results):
                response.update(_pack(f"{number}.{i}", values))
            if seconds:
                response[f"{number}.seconds"] = np.array(seconds)
    _write_arrays(pathlib.Path(response_path), response)


def main(argv: Sequence[str]) -> int:
    """The fresh process: returns its exit status."""
    if len(argv) != 4:
        print(
            f"{_ERROR_START}usage: python -m export.checks.c_library MODEL_DIR PLAN.json "
            "REQUEST.npz RESPONSE.npz",
            file=sys.stderr,
        )
        return 2
    try:
        _serve(*argv)
    except (CLibraryError, OSError) as error:
        print(f"{_ERROR_START}{' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
