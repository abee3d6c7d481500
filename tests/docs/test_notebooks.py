"""The notebooks of the documentation are run as they stand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def run_notebook(name: str, folder: Path) -> str:
    """What its cells print, run in an empty folder."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "results are for whoever runs it"
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return "".join(one.text for one in outputs if one.get("name") == "stdout")


def test_pairs_of_scans_become_a_separated_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    said = run_notebook("separate.ipynb", tmp_path)
    assert "semi-real" in said, "dtsinn info of what was imported"
    assert "\ninside\n" in said
    assert (tmp_path / "separated" / "report.html").is_file()
    errors = [line.split() for line in said.splitlines() if "RMS error" in line]
    assert [words[0] for words in errors] == ["fmz:", "fdg:"]
    for words in errors:
        assert float(words[3]) < float(words[-1]) / 2
