"""The package from Python: what it offers, and the documentation run as scripts and notebooks."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

import dtsinn
from tests.support.forked import Forks

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_the_public_names_are_there_and_hide_no_package() -> None:
    inside = {module.name for module in pkgutil.iter_modules(dtsinn.__path__)}
    for name in dtsinn.__all__:
        assert getattr(dtsinn, name).__name__ == name
        assert getattr(dtsinn, name).__doc__
    assert not inside & set(dtsinn.__all__)
    assert set(dtsinn.__all__) <= set(dir(dtsinn))
    with pytest.raises(AttributeError, match="no attribute 'seperator'"):
        dtsinn.seperator  # noqa: B018


def test_importing_waits_for_no_library() -> None:
    code = "import dtsinn, json, sys; dir(dtsinn); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "ray", "mlflow", "optuna", "zarr", "dask", "numpy", "pydantic"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "blocks", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["without a search", "all of it"]
)
def test_the_documentation_runs_as_a_script_without_a_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks, blocks: int
) -> None:
    """The second block searches, and its gate simulates."""
    script = tmp_path / "mine.py"
    script.write_text("print('begun')\n" + "\n".join(BLOCKS[:blocks]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    with forks.script(script) as job:
        said, err = job.communicate()
    assert job.returncode == 0, said + err
    assert said.count("begun") == 1, "no worker ran the script again"
    assert re.search(r"^-?\d+\.\d dB of 1 subject; see .*report\.html$", said, re.MULTILINE)
    assert re.search(r"^dtsinn-fmz-fdg-p1/3 (True|False) \d", said, re.MULTILINE) or blocks == 1
    (found,) = (tmp_path / "dtsinn-workspace" / "evaluations").iterdir()
    assert (found / "report.html").is_file()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "cells", [1, pytest.param(3, marks=pytest.mark.slow)], ids=["simulating", "all of it"]
)
def test_the_documentation_runs_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    """The first cell starts workers, the others train and evaluate."""
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    sources = BLOCKS[0].replace("\n\ndtsinn", "\ndtsinn").split("\n\n")
    assert len(sources) == 3
    sources[0] += "\nprint(store.header.samples)"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources[:cells]]
    )
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute()
    said = [one.text for cell in notebook.cells for one in cell.outputs if one.name == "stdout"]
    assert said[0] == "32\n"
    assert "dB of 1 subject" in said[-1] or cells == 1
