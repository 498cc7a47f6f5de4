"""The models of the stand-in server:
versions that appear in a serving directory are loaded through TensorFlow's C library.

A stand-in for TensorFlow Serving in tests. It follows what is known of that server's behaviour, and
is not that server.
"""

import pathlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export.checks import c_library
from export.publishing import models_config
from export.version import warmup


class Refusal(Exception):  # noqa: N818
    """An answer that is an error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class LoadedModel:
    """One version, loaded and warm."""

    def __init__(self, directory: pathlib.Path) -> None:
        saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        self.signatures = {
            n: s for n, s in saved.meta_graphs[0].signature_def.items() if not n.startswith("__")
        }
        self._session = c_library.Session(str(directory))
        self._users, self._free = 0, threading.Condition()
        # The load gate: a server replays these, and refuses the version where one fails.
        for replay in warmup.read(directory):
            self.call(replay.signature, replay.inputs)

    def call(self, name: str, inputs: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray]":
        """Answers as a server: the names and types are checked against the signature first."""
        if name not in self.signatures:
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT, f"Serving signature name {name!r} not found"
            )
        signature = self.signatures[name]
        if set(inputs) != set(signature.inputs):
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"inputs {sorted(inputs)} where the signature has {sorted(signature.inputs)}",
            )
        for key, values in inputs.items():
            if _dtype(values) != signature.inputs[key].dtype:
                raise Refusal(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"input {key} has another type than the signature says",
                )
        fed = {signature.inputs[key].name: values for key, values in inputs.items()}
        names = list(signature.outputs)
        try:
            return dict(
                zip(names, self._session.call(fed, [signature.outputs[key].name for key in names]))
            )
        except c_library.CLibraryError as error:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    @contextmanager
    def used(self) -> "Iterator[LoadedModel]":
        with self._free:
            self._users += 1
        try:
            yield self
        finally:
            with self._free:
                self._users -= 1
                self._free.notify_all()

    def close(self) -> None:
        """Unloads, when the last request is answered."""
        with self._free:
            self._free.wait_for(lambda: self._users == 0)
        self._session.close()


class Models:
    """The models of models.config, kept up with the directory by a thread.

    Attributes:
      refused: versions that did not load, by path, and why.
      loaded: every version that was loaded, by path, in order.
    """

    def __init__(self, serving: pathlib.Path, poll_seconds: float = 0.02) -> None:
        self._serving, self._poll = serving, poll_seconds
        self._lock = threading.Lock()
        self._models: dict[str, dict[int, LoadedModel]] = {}
        self.refused: dict[str, str] = {}
        self.loaded: list[str] = []
        self._stop = threading.Event()
        self._scan()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for versions in self._models.values():
            for model in versions.values():
                model.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._scan()
            time.sleep(self._poll)

    def _scan(self) -> None:
        for entry in models_config.read(self._serving).model_config_list.config:
            base = pathlib.Path(entry.base_path)
            present = (
                [int(path.name) for path in base.iterdir() if path.name.isdecimal()]
                if base.is_dir()
                else []
            )
            pinned = list(entry.model_version_policy.specific.versions)
            wanted = [v for v in present if v in pinned] if pinned else sorted(present)[-1:]
            have = self._models.get(entry.name, {})
            for version in wanted:
                path = base / str(version)
                if version not in have and str(path) not in self.refused:
                    try:
                        model = LoadedModel(path)
                    except Exception as error:
                        self.refused[str(path)] = str(error)
                        continue
                    self.loaded.append(str(path))
                    with self._lock:
                        self._models.setdefault(entry.name, {})[version] = model
            # The new version answers before the old one goes.
            for version in [v for v in have if v not in wanted]:
                if any(v in self._models[entry.name] for v in wanted):
                    with self._lock:
                        old = self._models[entry.name].pop(version)
                    old.close()

    def versions(self, name: str) -> "list[int]":
        with self._lock:
            if name not in self._models:
                raise Refusal(
                    grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}"
                )
            return sorted(self._models[name])

    @contextmanager
    def use(self, name: str, version: Optional[int] = None) -> "Iterator[tuple[int, LoadedModel]]":
        """The version that answers a request, not unloaded before the answer."""
        with self._lock:
            versions = self._models.get(name, {})
            number = max(versions, default=None) if version is None else version
            if number not in versions:
                raise Refusal(
                    grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {name} {version}"
                )
            used = versions[number].used()
            model = used.__enter__()
        try:
            yield number, model
        finally:
            used.__exit__(None, None, None)


def _dtype(values: np.ndarray) -> Any:
    return (
        tf.string.as_datatype_enum
        if values.dtype == object
        else tf.as_dtype(values.dtype).as_datatype_enum
    )
