"""The same registry on an MLflow server that keeps the artifacts: ``MLFLOW_TRACKING_URI``."""

import pytest

from dtsinn.core.workspace import Workspace
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion import promote
from dtsinn.registry.references import resolve
from dtsinn.registry.tracking import connect
from dtsinn.registry.versions import list_models

pytestmark = pytest.mark.slow


@pytest.fixture
def tracker(server, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return connect(workspace)


def test_registers_promotes_and_fetches(tracker, registered, packages, store, tmp_path):
    version = registered(packages.weak)
    assert registered(packages.weak) == version
    here = Workspace(tmp_path / "another machine")
    report = promote(tracker, here, version, store, GateConfig(suite=None))
    assert report.verdict == "passed"
    for ref in ("best", f"run:{version.run_key}", f"{version.name}/1"):
        found = resolve(ref, here)
        assert found.path == here.packages / version.digest
    assert [path.name for path in here.packages.iterdir()] == [version.digest]
    assert list_models(tracker)[0].tags["gate.verdict"] == "promoted"
    assert not here.database.exists()
