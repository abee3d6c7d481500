"""The champion behind MLflow's own server of models, which must not unpickle anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

from dtsinn.deploy.separator import Separator
from dtsinn.registry.tracking.embedded import embedded_uri
from dtsinn.registry.versions import CHAMPION

WAIT_s = 120


def test_mlflow_serves_the_champion_without_pickles(
    tracker, workspace, registered, packages, store
) -> None:
    version = registered(packages.strong)
    tracker.client.set_registered_model_alias(version.name, CHAMPION, str(version.version))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local",
        "--model-uri", f"models:/{version.name}@{CHAMPION}", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    beside = str(Path(sys.executable).parent)  # MLflow looks for uvicorn on the path
    environment = os.environ | {
        "PATH": os.pathsep.join([beside, os.environ["PATH"]]),
        "MLFLOW_TRACKING_URI": embedded_uri(workspace),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    mixture = next(store.subjects("gate")).mixture_NTYX[:1]
    question = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": mixture.tolist()}).encode(),
        {"Content-Type": "application/json"},
    )
    job = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + WAIT_s
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert job.poll() is None, job.communicate()[0].decode()
                assert time.monotonic() < until
                time.sleep(0.1)  # between looks, not instead of them
        with urllib.request.urlopen(question, timeout=60) as answer:
            served = np.array(json.load(answer)["predictions"], np.float32)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, 15)
        job.communicate()
    ours = Separator.load(packages.strong).separate(mixture)
    np.testing.assert_allclose(served, ours, rtol=1e-4, atol=1e-5)
