"""The files that a server is started with."""

import pathlib

import yaml  # type: ignore[import-untyped]

from export.publishing import deployment


def _flags(arguments: "list[str]") -> "dict[str, str]":
    return dict(argument[2:].split("=", 1) for argument in arguments)


def test_compose_and_kubernetes_agree(tmp_path: pathlib.Path) -> None:
    written = deployment.write(tmp_path, "/models/", "NL")
    assert sorted(path.name for path in written) == [
        "batching_parameters.txt",
        "docker-compose.yaml",
        "kubernetes.yaml",
        "monitoring.config",
    ]
    service = yaml.safe_load((tmp_path / "docker-compose.yaml").read_text())["services"][
        "tensorflow-serving"
    ]
    deployed, exposed = yaml.safe_load_all((tmp_path / "kubernetes.yaml").read_text())
    container = deployed["spec"]["template"]["spec"]["containers"][0]
    assert service["image"] == container["image"] == "tensorflow/serving:2.14.1"
    assert service["command"] == container["args"]
    flags = _flags(container["args"])
    assert flags["model_config_file"] == "/models/models.config"
    assert flags["batching_parameters_file"] == f"/models/{written[0].name}"
    assert flags["monitoring_config_file"] == "/models/monitoring.config"
    assert service["volumes"] == [".:/models:ro"]
    assert container["volumeMounts"] == [
        {"name": "models", "mountPath": "/models", "readOnly": True}
    ]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert ports == {"grpc": flags["port"], "rest": flags["rest_api_port"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/NL"
    labels = deployed["spec"]["template"]["metadata"]["labels"]
    assert labels == deployed["spec"]["selector"]["matchLabels"] == exposed["spec"]["selector"]


def test_a_changed_file_is_kept(tmp_path: pathlib.Path) -> None:
    (tmp_path / "kubernetes.yaml").write_text("mine")
    assert "kubernetes.yaml" not in [
        path.name for path in deployment.write(tmp_path, "/models", "NL")
    ]
    assert (tmp_path / "kubernetes.yaml").read_text() == "mine"
