"""The checks of a running model server by REST."""

import http.client
import json
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from export import interface
from export.checks import server_expectations
from export.checks import version as version_checks
from export.client import rest
from export.graph import requests
from pfrec import errors


class _RefusedError(errors.PfrecError):
    """The server answered with an error."""


class _Server:
    """A server, asked about one version of one model."""

    def __init__(self, wanted: server_expectations.Expected, target: str, timeout: float) -> None:
        self._wanted, self._target, self._timeout = wanted, target, timeout
        self._path = rest.path(wanted.model, wanted.version)

    def _call(
        self, method: str, path: str, body: "Optional[bytes | Mapping[str, Any]]" = None
    ) -> Any:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self._target, timeout=self._timeout)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            status, text = response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise server_expectations.UnreachableError(
                f"{self._target}: {reason}; start the model server, or check --rest_endpoint and "
                "--timeout"
            ) from error
        finally:
            connection.close()
        if status in (502, 503, 504):
            raise server_expectations.UnreachableError(
                f"{self._target}: {status}: {text[:200]}; start the model server, or check "
                "--rest_endpoint"
            )
        if status != 200:
            raise _RefusedError(f"{status}: {text}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise errors.PfrecError(f"{method} {path}: the answer is no JSON ({error})") from error

    def status(self) -> str:
        """That the version is available."""
        found = {
            s["version"]: s["state"] for s in self._call("GET", self._path)["model_version_status"]
        }
        version = self._wanted.version
        if "AVAILABLE" not in (found.values() if version is None else [found.get(str(version))]):
            raise errors.PfrecError(f"version {version} is not available; the server says {found}")
        available = [v for v, state in sorted(found.items()) if state == "AVAILABLE"]
        return f"version {', '.join(available)} is available"

    def metadata(self) -> str:
        """That the signatures are those of the schema."""
        return server_expectations.require_signatures(
            rest.signatures(self._call("GET", f"{self._path}/metadata")), self._wanted.served
        )

    def answers(self) -> str:
        """That the answers to the warm-up requests, in the row and the columnar format,
        are those of the files.
        """
        largest, count = 0.0, 0
        by_rows = {
            requests.rows(replay.inputs): replay.inputs
            for replay in self._wanted.replays
            if replay.signature == interface.SERVE
        }
        for replay, mine in zip(self._wanted.replays, self._wanted.answers):
            features = by_rows[requests.rows(replay.inputs)]
            for what, found in self._asked(replay.signature, features).items():
                largest = max(
                    largest,
                    server_expectations.require_equal(
                        found, mine, f"{what}, {requests.rows(features)} rows"
                    ),
                )
                count += 1
        return f"{count} requests, largest difference to the files here {largest:.3g}"

    def _asked(
        self, signature: str, features: Mapping[str, np.ndarray]
    ) -> "dict[str, Mapping[str, Any]]":
        """Outputs by name, by how they were asked for."""
        method = self._wanted.served.signatures()[signature].method.rpartition("/")[2]
        if method == "predict":
            (only, *others) = self._wanted.served.tasks()
            found: dict[str, Mapping[str, Any]] = {}
            for key, content in (
                ("instances", rest.instances(features)),
                ("inputs", rest.columns(features)),
            ):
                answer = rest.outputs(
                    self._post(":predict", {"signature_name": signature, key: content})
                )
                found[f"predict with {key}"] = (
                    answer if others else {only: next(iter(answer.values()))}
                )
            return found
        body = {"signature_name": signature, "examples": rest.examples(features)}
        results = self._post(f":{method}", body)["results"]
        if method == "regress":
            return {signature: {interface.REGRESSED: np.array(results, np.float32)}}
        classes = np.array([[label.encode() for label, _ in row] for row in results], object)
        scores = np.array([[score for _, score in row] for row in results], np.float32)
        return {signature: {interface.CLASSES: classes, interface.SCORES: scores}}

    def _post(self, verb: str, body: "bytes | Mapping[str, Any]") -> Any:
        return self._call("POST", self._path + verb, body)

    def refusals(self) -> str:
        """That what has to be an error is one."""
        served = self._wanted.served
        request = requests.random(served, 2, seed=0)
        rows = rest.instances(request)
        outcomes = [
            (
                "an unknown model",
                self._refusal("/v1/models/no_such_model:predict", {"instances": rows}),
            ),
            (
                "an unknown version",
                self._refusal(
                    f"{rest.path(self._wanted.model, 2**40)}:predict", {"instances": rows}
                ),
            ),
        ]
        bodies: list[tuple[str, Any]] = [
            ("no JSON", b"{"),
            ("no instances", {"instances": []}),
            ("a body without rows", {"signature_name": interface.SERVE}),
        ]
        for name, dtype in served.inputs().items():
            bodies.append(
                (f"null for {name}", {"inputs": {**rest.columns(request), name: [None, None]}})
            )
            if dtype == "int64":
                bodies.append(
                    (f"3.0 for {name}", {"inputs": {**rest.columns(request), name: [3.0, 3.0]}})
                )
        for case in server_expectations.errors_expected(served):
            if set(case.inputs) != {interface.EXAMPLES}:
                columns = {name: rest.value(values) for name, values in case.inputs.items()}
                bodies.append((case.name, {"signature_name": case.signature, "inputs": columns}))
        outcomes += [(name, self._refusal(f"{self._path}:predict", body)) for name, body in bodies]
        return server_expectations.require_refusals(outcomes)

    def _refusal(self, path: str, body: Any) -> Optional[str]:
        try:
            self._call("POST", path, body)
        except _RefusedError as error:
            return str(error)
        return None


def check(
    made: version_checks.Checklist,
    wanted: server_expectations.Expected,
    target: str,
    timeout: float,
) -> None:
    """Adds the checks of a server by REST.

    Raises:
      UnreachableError: where no server answers in time.
    """
    server = _Server(wanted, target, timeout)
    for name in ("status", "metadata", "answers", "refusals"):
        made.passed(f"REST {name}", getattr(server, name))
