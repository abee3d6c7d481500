"""The card: it says what a person needs, and its code runs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dtsinn.deploy.card import card_text
from dtsinn.deploy.package import Lineage, SeparatorInfo, package_digest
from dtsinn.networks.invertible import InvertibleSeparator


def rows(text: str, head: str) -> list[list[str]]:
    """Cells of the table whose first heading is ``head``."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    body = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        body.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return body


def test_it_tells_what_the_package_is(package: Path) -> None:
    text = (package / "card.md").read_text("utf-8")
    assert text.startswith("# Separator of fmz and fdg\n")
    assert package_digest(package) in text
    assert rows(text, "tracer") == [["fmz", "0", "20.36"], ["fdg", "90", "109.8"]]
    assert rows(text, "frame") == [[str(k + 1), str(60 * k), "60"] for k in range(4)]
    assert rows(text, "metric") == [["val/psnr", "41.25"]]
    assert ["blocks", "`1`"] in rows(text, "setting")
    assert ["store_path", "`train.zarr`"] in rows(text, "what")
    assert ["config.model.blocks", "`1`"] in rows(text, "what")


def test_its_code_runs(
    package: Path, mixture: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(package)
    blocks = re.findall(r"```python\n(.*?)```", (package / "card.md").read_text("utf-8"), re.S)
    assert len(blocks) == 2
    results = []
    for code in blocks:
        names: dict[str, Any] = {"mixture": mixture}
        exec(code, names)
        results.append(names)
    for name in ("tracers", "scale", "again"):
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(results[0]["again"], mixture, rtol=1e-4, atol=1e-3)


def test_words_cannot_break_out_of_their_cell(
    info: SeparatorInfo, network: InvertibleSeparator
) -> None:
    lineage = Lineage(
        run="a|b\n# Heading `code`",
        config={"k|ey\n": "v"},
        store_path="",
        store_digest="",
        code_version="",
        seed=0,
    )
    text = card_text(dataclasses.replace(info, lineage=lineage), "digest", network)
    assert ["run", "`a\\|b # Heading 'code'`"] in rows(text, "what")
    assert all(len(row) == 2 for row in rows(text, "what"))
    assert "\n# Heading" not in text


def test_a_package_without_metrics_says_so(
    info: SeparatorInfo, network: InvertibleSeparator
) -> None:
    text = card_text(dataclasses.replace(info, metrics={}), "digest", network)
    assert "None were recorded." in text
