"""Loads and calls a SavedModel in a fresh process, through TensorFlow's C library alone.

`run` is the caller's side; the process it starts runs this module:

    python -m export.checks.fresh_process MODEL_DIR PLAN.json REQUEST.npz RESPONSE.npz

PLAN.json holds per call `inputs` and `outputs`, the names of their tensors in the graph, and
`repeats`. In the npz files array `2.0` is the first tensor of the third call. A tensor of strings
is two arrays: all bytes one after the other, and under `2.0.lengths` the length of each string, in
the tensor's shape. The response of a call that was refused is its message under `2.error`; the
seconds of a call that was repeated are under `2.seconds`.
"""

import contextlib
import dataclasses
import errno
import io
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

from export.checks import c_library
from pfrec import child, errors, files

_ERROR_START = "error: "


class UnaskedError(errors.PfrecError):
    """A model could not be asked, for want of room or of leave for requests and answers: nothing is
    known of it.
    """


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
      UnaskedError: where requests or answers cannot be written.
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
            "export.checks.fresh_process",
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
            for code in (errno.ENOSPC, errno.EDQUOT):
                if os.strerror(code) in reason:
                    raise OSError(code, os.strerror(code))
            raise errors.PfrecError(
                f"{model_directory}: does not load through the C library ({reason}); export the "
                "model again"
            )
        if not response.exists():
            raise errors.PfrecError(
                f"{model_directory}: the process that loaded it ended without an answer; export "
                "the model again"
            )
        with np.load(response) as given:
            return [_answer(given, number, call.names) for number, call in enumerate(calls)]


@contextlib.contextmanager
def _folder(model_directory: pathlib.Path) -> Iterator[str]:
    """A folder for requests, which may be a scenario's own rows: beside a version that is not
    published yet, where the next export removes what a kill leaves of it; else the system's.

    Raises:
      UnaskedError: where it cannot be written.
    """
    staged = model_directory.name.startswith(files.TEMPORARY_PREFIX)
    place = model_directory.parent if staged else pathlib.Path(tempfile.gettempdir())
    prefix = f"{files.TEMPORARY_PREFIX}requests-"
    try:
        with files.readable_errors(place):
            with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as folder:
                yield folder
    except errors.PfrecError as error:
        if isinstance(error.__cause__, OSError):
            raise UnaskedError(str(error)) from error.__cause__
        raise


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
    # Whole before it is written: an archive that a full disk cuts off complains when it is dropped.
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    path.write_bytes(archive.getbuffer())


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


def _serve(model_directory: str, plan_path: str, request_path: str, response_path: str) -> None:
    plan = files.read_json(pathlib.Path(plan_path), remedy="verify again")
    session = c_library.Session(model_directory)
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
            except c_library.CLibraryError as error:
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
            f"{_ERROR_START}usage: python -m export.checks.fresh_process MODEL_DIR PLAN.json "
            "REQUEST.npz RESPONSE.npz",
            file=sys.stderr,
        )
        return 2
    try:
        _serve(*argv)
    except (c_library.CLibraryError, OSError) as error:
        print(f"{_ERROR_START}{' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
