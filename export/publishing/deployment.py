"""The files that a server of the exported models is started with,
for the official image of TensorFlow Serving.

They are written where they are absent, and a file that a user changed is kept.
"""

import pathlib

from export.publishing import models_config
from pfrec import files

IMAGE = "tensorflow/serving:2.14.1"
BATCHING_FILE = "batching_parameters.txt"
MONITORING_FILE = "monitoring.config"
COMPOSE_FILE = "docker-compose.yaml"
KUBERNETES_FILE = "kubernetes.yaml"

_BATCHING = """\
# Requests that arrive within a millisecond are answered together, up to 512 rows. A request of more
# rows is refused: send it in parts.
max_batch_size { value: 512 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 200 }
num_batch_threads { value: 4 }
"""
_MONITORING = """\
# Prometheus reads http://HOST:8501/monitoring/prometheus/metrics
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""


def arguments(base_path: str) -> "list[str]":
    """The server's flags; `base_path` is the serving directory as the server sees it."""
    base = base_path.rstrip("/")
    return [
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={base}/{models_config.FILE}",
        # A rollback is a change of that file.
        "--model_config_file_poll_wait_seconds=10",
        # A label may name a version that is still being loaded when the server starts.
        "--allow_version_labels_for_unavailable_models=true",
        "--file_system_poll_wait_seconds=5",
        "--enable_batching=true",
        f"--batching_parameters_file={base}/{BATCHING_FILE}",
        f"--monitoring_config_file={base}/{MONITORING_FILE}",
        "--rest_api_timeout_in_ms=5000",
    ]


def compose(base_path: str) -> str:
    """A docker compose file, to be used in the serving directory."""
    flags = "\n".join(f"      - {flag}" for flag in arguments(base_path))
    return f"""\
# In this directory: docker compose up -d
# An entry point of its own: the image's names one model, where there are several here.
services:
  tensorflow-serving:
    image: {IMAGE}
    entrypoint: /usr/bin/tensorflow_model_server
    command:
{flags}
    volumes:
      - .:{base_path.rstrip("/")}:ro
    ports:
      - "8500:8500"
      - "8501:8501"
    restart: unless-stopped
"""


def kubernetes(base_path: str, model: str) -> str:
    """A Deployment and a Service; the serving directory is on a claimed volume.

    `model` is one that the probes ask for.
    """
    flags = "\n".join(f"            - {flag}" for flag in arguments(base_path))
    return f"""\
# The serving directory is on the volume of the claim pfrec-serving, which only the exporting
# side writes: kubectl apply -f kubernetes.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: pfrec-serving
spec:
  replicas: 2
  selector:
    matchLabels:
      app: pfrec-serving
  template:
    metadata:
      labels:
        app: pfrec-serving
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: tensorflow-serving
          image: {IMAGE}
          command:
            - /usr/bin/tensorflow_model_server
          args:
{flags}
          ports:
            - name: grpc
              containerPort: 8500
            - name: rest
              containerPort: 8501
          # The ports open when every model is loaded and warm.
          readinessProbe:
            httpGet:
              path: /v1/models/{model}
              port: rest
            periodSeconds: 5
          livenessProbe:
            tcpSocket:
              port: grpc
            initialDelaySeconds: 60
            periodSeconds: 20
          resources:
            requests:
              cpu: "2"
              memory: 2Gi
          volumeMounts:
            - name: models
              mountPath: {base_path.rstrip("/")}
              readOnly: true
      volumes:
        - name: models
          persistentVolumeClaim:
            claimName: pfrec-serving
            readOnly: true
---
apiVersion: v1
kind: Service
metadata:
  name: pfrec-serving
spec:
  selector:
    app: pfrec-serving
  ports:
    - name: grpc
      port: 8500
      targetPort: grpc
    - name: rest
      port: 8501
      targetPort: rest
"""


def write(serving: pathlib.Path, base_path: str, model: str) -> "list[pathlib.Path]":
    """Writes the files that are absent.

    Args:
      serving: the serving directory.
      base_path: of it as the server sees it.
      model: a model that is in it.

    Returns:
      What was written.

    Raises:
      PfrecError: where one cannot be written.
    """
    wanted = {
        BATCHING_FILE: _BATCHING,
        MONITORING_FILE: _MONITORING,
        COMPOSE_FILE: compose(base_path),
        KUBERNETES_FILE: kubernetes(base_path, model),
    }
    absent = [name for name in wanted if not (serving / name).exists()]
    for name in absent:
        files.write_bytes(serving / name, wanted[name].encode(), public=True)
    return [serving / name for name in absent]
