"""The checks of a running server, and the client, against the stand-in server.

No TensorFlow Serving runs here.
"""

import concurrent.futures
import json
import pathlib
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from export.checks import server_expectations
from export.checks import version as version_checks
from export.client import client
from export.commands import running_server
from export.exporting import build
from export.graph import requests
from export.publishing import models_config, publish
from export.version import sample_request
from pfrec import errors
from tests.export import stand_in_server, tiny

SCENARIOS = ("NL", "ES", "FR", "US")


def _publish(serving: pathlib.Path, made: "dict[str, pathlib.Path]", version: int) -> None:
    with publish.Publication(serving) as publication:
        for name, source in made.items():
            shutil.copytree(source, publication.stage(name, version), dirs_exist_ok=True)
        publication.publish()
    models_config.write(serving, str(serving))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> "list[dict[str, pathlib.Path]]":
    """Two trainings' versions of four scenarios: directories by scenario."""
    found = []
    for training in range(2):
        directory = tmp_path_factory.mktemp(f"training_{training}")
        for place, scenario in enumerate(SCENARIOS):
            (directory / scenario).mkdir()
            build.write(
                tiny.model(seed=10 * training + place, scenario=scenario),
                scenario,
                directory / scenario,
            )
        found.append({scenario: directory / scenario for scenario in SCENARIOS})
    return found


@pytest.fixture(scope="module")
def server(
    versions: "list[dict[str, pathlib.Path]]",
    routed: pathlib.Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[stand_in_server.Running]:
    serving = tmp_path_factory.mktemp("served")
    _publish(serving, {**versions[0], "router": routed}, 1)
    with stand_in_server.running(serving) as running:
        yield running


def _failed(checks: "list[version_checks.Check]") -> "dict[str, str]":
    return {check.name: check.detail for check in checks if not check.ok}


@pytest.mark.parametrize("model", ["NL", "router"])
def test_good_server_passes(server: stand_in_server.Running, model: str) -> None:
    directory = server.models._serving / model / "1"
    made = running_server.check(directory, grpc=server.grpc, rest=server.rest, timeout=30)
    assert _failed(made) == {}
    assert [check.name for check in made] == [
        f"{protocol} {name}"
        for protocol in ("gRPC", "REST")
        for name in ("status", "metadata", "answers", "refusals")
    ]
    assert ("an unknown scenario" in made[3].detail) == (model == "router")
    assert "null for 101" in made[7].detail
    assert "3.0 for 101" in made[7].detail


@pytest.mark.parametrize("model", ["NL", "router"])
def test_the_sample_request_can_be_sent_as_it_is(
    server: stand_in_server.Running, model: str
) -> None:
    directory = server.models._serving / model / "1"
    body = (directory / sample_request.FILE).read_bytes()
    answer = _post(server.rest, model, "predict", body)
    assert [set(row) for row in answer["predictions"]] == [{"click", "buy"}] * 2


def test_a_number_that_an_example_lacks_has_its_default(server: stand_in_server.Running) -> None:
    directory = server.models._serving / "NL" / "1"
    rows = json.loads((directory / sample_request.FILE).read_bytes())["instances"]
    lacking = [{name: v for name, v in row.items() if name not in ("price", "age")} for row in rows]
    default = [{**row, "price": 0.5, "age": -1.0} for row in lacking]
    bodies = [
        json.dumps({"signature_name": "classify", "examples": examples}).encode()
        for examples in (lacking, default, rows)
    ]
    answers = [_post(server.rest, "NL", "classify", body) for body in bodies]
    assert answers[0] == answers[1] != answers[2]


def _post(rest: str, model: str, method: str, body: bytes) -> "dict[str, Any]":
    """What `curl -d` of a body gets."""
    url = f"http://{rest}/v1/models/{model}:{method}"
    with urllib.request.urlopen(url, body, timeout=30) as answer:
        return json.load(answer)


def test_server_with_another_model_fails(
    server: stand_in_server.Running,
    versions: "list[dict[str, pathlib.Path]]",
    tmp_path: pathlib.Path,
) -> None:
    other = shutil.copytree(versions[1]["NL"], tmp_path / "1")
    failed = _failed(running_server.check(other, grpc=server.grpc, rest=server.rest, timeout=30))
    assert set(failed) == {"gRPC answers", "REST answers"}
    assert "from the files here, above 0.0001" in failed["gRPC answers"]
    absent = shutil.copytree(versions[0]["NL"], tmp_path / "7")
    failed = _failed(running_server.check(absent, grpc=server.grpc, rest=None, timeout=30))
    assert "NOT_FOUND" in failed["gRPC answers"]
    assert "version 7 is not available" in failed["gRPC status"]


def test_server_that_answers_what_must_be_an_error_fails(
    server: stand_in_server.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = server.models._serving / "NL" / "1"
    good = requests.random(tiny.SERVED, 3, seed=0)
    monkeypatch.setattr(
        server_expectations,
        "errors_expected",
        lambda served: [
            server_expectations.malformed.Malformed("a good request", "serving_default", good, "")
        ],
    )
    failed = _failed(
        running_server.check(directory, grpc=server.grpc, rest=server.rest, timeout=30)
    )
    assert set(failed) == {"gRPC refusals", "REST refusals"}
    assert "has to be an error: a good request" in failed["REST refusals"]


def test_no_server(exported: pathlib.Path) -> None:
    with pytest.raises(
        errors.PfrecError,
        match=r"127\.0\.0\.1:1: no connection within 0\.5 s; start the model server",
    ):
        running_server.check(exported, grpc="127.0.0.1:1", rest=None, timeout=0.5)
    with pytest.raises(
        errors.PfrecError, match=r"127\.0\.0\.1:1: .*refused; start the model server"
    ):
        running_server.check(exported, grpc=None, rest="127.0.0.1:1", timeout=0.5)


FEATURES = {
    "101": [3, -7],
    "city": ["Delft", "\u65b0"],
    "device": ["phone", b"\xff"],
    "visited": [[5, 0, 5, 1], []],
    "tags": [["sale"], ["gift", b"\xff"]],
    "words": [[], ["a"]],
    "price": [1, 2],
    "age": [0.5, -1.0],
}


@pytest.fixture(params=[client.GrpcClient, client.RestClient])
def connect(request: pytest.FixtureRequest, server: stand_in_server.Running):
    def make(model: str = "NL", **settings: object) -> client.Client:
        target = server.grpc if request.param is client.GrpcClient else server.rest
        return request.param(target, model, **{"timeout": 20, **settings})

    return make


def test_client_answers_as_the_trained_model(connect) -> None:
    with connect() as model:
        given = model.predict(FEATURES)
    request = {
        "101": np.array(FEATURES["101"], np.int64),
        "city": requests.texts([b"Delft", "\u65b0".encode()]),
        "device": requests.texts([b"phone", b"\xff"]),
        "visited": np.array([[5, 0, 5], [-1, -1, -1]]),
        "tags": requests.texts([b"sale", b"", b"gift", b"\xff"]).reshape(2, 2),
        "words": requests.texts([b"", b"a"]).reshape(2, 1),
        "price": np.array(FEATURES["price"], np.float32),
        "age": np.array(FEATURES["age"], np.float32),
    }
    for task, expected in tiny.model().predict(request).items():
        assert given[task].dtype == np.float32
        np.testing.assert_allclose(given[task], expected, rtol=0, atol=1e-6)


def test_client_says_what_was_refused(connect) -> None:
    with connect() as model:
        with pytest.raises(client.ServingError, match="refused") as caught:
            model.predict({**FEATURES, "price": [1.0]})
        assert caught.value.code in ("INVALID_ARGUMENT", "400")
        with pytest.raises(errors.PfrecError, match="input '101': takes int64, got float64"):
            model.predict({**FEATURES, "101": [1.5, 2.0]})
        with pytest.raises(errors.PfrecError, match="input 'city': takes text, got int 5"):
            model.predict({**FEATURES, "city": [5, 6]})
        with pytest.raises(
            errors.PfrecError, match="input 'tags': takes a list for each row, got 'sale' in row 0"
        ):
            model.predict({**FEATURES, "tags": ["sale", "gift"]})
        with pytest.raises(errors.PfrecError, match="input 'visited': takes int64, got float64"):
            model.predict({**FEATURES, "visited": [[1.5], []]})
        for nested in ([[3], [1, 2]], [[3], [4]]):
            with pytest.raises(
                errors.PfrecError, match=r"input '101': takes single values, got \[3\] in row 0"
            ):
                model.predict({**FEATURES, "101": nested})
        arrays = {
            **FEATURES,
            "visited": np.array([[5, 0], [1, -1]]),
            "tags": requests.texts([b"new", b""] * 2).reshape(2, 2),
        }
        lists = {**FEATURES, "visited": [[5, 0], [1]], "tags": [["new"], ("new",)]}
        np.testing.assert_array_equal(model.predict(arrays)["click"], model.predict(lists)["click"])
    with connect("router") as router:
        assert router.predict({**FEATURES, "scenario": ["ES", "NL"]})["click"].shape == (2,)
        with pytest.raises(client.ServingError, match="unknown scenario"):
            router.predict({**FEATURES, "scenario": ["ES", "XX"]})
    with connect("no_such_model") as absent, pytest.raises(client.ServingError) as caught:
        absent.predict(FEATURES)
    assert caught.value.code in ("NOT_FOUND", "404")


def test_grpc_client_tries_again_and_no_more_than_told(server: stand_in_server.Running) -> None:
    with client.GrpcClient(server.grpc, "NL", timeout=20, attempts=3, backoff=0.001) as model:
        expected = model.predict(FEATURES)["click"]
        server.service.failures = 2
        np.testing.assert_array_equal(model.predict(FEATURES)["click"], expected)
        server.service.failures = 3
        with pytest.raises(client.ServingError, match="told to fail") as caught:
            model.predict(FEATURES)
        assert caught.value.code == "UNAVAILABLE"
        assert server.service.failures == 0


@pytest.mark.parametrize("kind", [client.GrpcClient, client.RestClient])
def test_client_without_a_server(kind: type) -> None:
    with (
        kind("127.0.0.1:1", "NL", timeout=0.3, attempts=2) as model,
        pytest.raises(client.ServingError, match=r"within 0\.3 s"),
    ):
        model.predict(FEATURES)


def test_new_version_replaces_the_old_one_under_load(
    versions: "list[dict[str, pathlib.Path]]", tmp_path: pathlib.Path
) -> None:
    """Four scenarios, asked by both protocols all the while: every request is answered,
    by the old version or by the new one.
    """
    _publish(tmp_path, versions[0], 1)
    request = {
        name: values.tolist() for name, values in requests.random(tiny.SERVED, 4, seed=0).items()
    }
    seen: dict[str, list[np.ndarray]] = {scenario: [] for scenario in SCENARIOS}
    done = threading.Event()
    with stand_in_server.running(tmp_path) as running:

        def ask(scenario: str, kind: type, target: str) -> int:
            # One attempt: a retry would hide a failure.
            with kind(target, scenario, timeout=30, attempts=1) as model:
                count = 0
                while not done.is_set() or count == 0:
                    seen[scenario].append(model.predict(request)["click"])
                    count += 1
                    time.sleep(0.02)
                return count

        with concurrent.futures.ThreadPoolExecutor(2 * len(SCENARIOS)) as pool:
            asked = [
                pool.submit(ask, scenario, kind, target)
                for scenario in SCENARIOS
                for kind, target in (
                    (client.GrpcClient, running.grpc),
                    (client.RestClient, running.rest),
                )
            ]
            try:
                _wait(lambda: all(seen.values()))
                _publish(tmp_path, versions[1], 2)
                _wait(
                    lambda: all(running.models.versions(scenario) == [2] for scenario in SCENARIOS)
                )
                for scenario in SCENARIOS:
                    assert publish.retire(tmp_path / scenario, 1) == [1]
                    made = running_server.check(
                        tmp_path / scenario / "2", grpc=running.grpc, rest=running.rest, timeout=30
                    )
                    assert _failed(made) == {}
            finally:
                done.set()
            assert min(job.result() for job in asked) > 0
        assert running.models.refused == {}
    for place, scenario in enumerate(SCENARIOS):
        arrays = requests.random(tiny.SERVED, 4, seed=0)
        old, new = (tiny.model(seed=10 * t + place).predict(arrays)["click"] for t in range(2))
        by_new = [bool(np.allclose(given, new, atol=1e-6)) for given in seen[scenario]]
        by_old = [bool(np.allclose(given, old, atol=1e-6)) for given in seen[scenario]]
        assert all(a or b for a, b in zip(by_new, by_old))
        assert any(by_old)
        assert any(by_new)


def _wait(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
