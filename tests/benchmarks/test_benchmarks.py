"""The computing part of the smaller benchmarks at a tiny size."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks import reading, report, roundtrip
from dtsinn.data.store import Store


def silent(text: str) -> None:
    pass


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list | tuple):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, int | float) else []


def check_written(result: report.Result, folder: Path) -> None:
    report.write(result, folder)
    content = json.loads((folder / f"{result.name}.json").read_text(encoding="utf-8"))
    assert numbers(content["data"])
    assert all(math.isfinite(number) for number in numbers(content["data"]))
    page = (folder / f"{result.name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {result.title}")
    assert "nan" not in page


def test_reading(small_store: Store, tmp_path: Path) -> None:
    check_written(reading.run(small_store, tmp_path, rounds=1, steps=5, say=silent), tmp_path)


def test_roundtrip(small_store: Store, tmp_path: Path) -> None:
    result = roundtrip.run(small_store, tmp_path, steps=5, say=silent, blocks=(1,))
    check_written(result, tmp_path)
    (found,) = result.data["separators"]
    assert found["round_trip"] < 1e-5
    assert found["onnx_model"] < result.data["limit"]
