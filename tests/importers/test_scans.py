"""Opening a plan of DICOM folders: a study like any other, which tells of nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.data.store import open_store
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import IMPORTERS

from .dicom_series import SeriesRecipe, series_array, write_series

FMZ = SeriesRecipe(half_life=1224.0, injected=0.0, seed=1)
FDG = SeriesRecipe(half_life=6588.0, injected=0.0, seed=2)
"""Frames of 60, 120, 300 and 600 s."""


@pytest.fixture
def dicom(tmp_path: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """A folder with a pair of series, a plan for it, and all that could tell whose they are."""
    pieces: list[str] = []
    for number, (name, recipe) in enumerate([("first", FMZ), ("second", FDG)]):
        identity = write_series(tmp_path / name, series_array(seed=number), recipe)
        pieces += identity.pieces()
    (tmp_path / "short.yaml").write_text(
        "name: short\ndescription: short\nsource: uncited\n"
        "injections: [0, 180]\nframes: [[1, 180], [1, 180], [1, 720]]\n"
    )
    plan = {
        "tracers": ["fmz", "fdg"],
        "protocol": "short.yaml",
        "subjects": [
            {"id": "somebody", "first": {"image": "first"}, "second": {"image": "second"}}
        ],
    }
    return tmp_path, plan, pieces


def written(folder: Path, plan: dict[str, Any]) -> Path:
    path = folder / "plan.yaml"
    path.write_text(json.dumps(plan))  # which YAML is, too
    return path


def test_a_pair_of_dicom_series_becomes_a_store(dicom) -> None:
    folder, plan, pieces = dicom
    out = folder / "out.zarr"
    source = IMPORTERS["dicom"].open(written(folder, plan))
    assert source.shape.attributes["source_format"] == "dicom"
    import_study(source, str(out), folder / "people.json")
    tracers = open_store(str(out), need_truth=True).read(range(3)).tracers_NKTYX
    # Frames that the protocol only merges: the tolerance is that of 16-bit pixels.
    one, two = (series_array(seed=number)[..., ::-1] for number in range(2))
    merged = (60 * one[:, 0] + 120 * one[:, 1]) / 180
    assert np.allclose(tracers[:, 0, 0], merged, atol=2e-3)
    assert (tracers[:, 1, 0] == 0).all()
    assert np.allclose(tracers[:, 1, 1], (60 * two[:, 0] + 120 * two[:, 1]) / 180, atol=2e-3)
    content = b"\0".join(path.read_bytes() for path in out.rglob("*") if path.is_file()).lower()
    assert b"samples_digest" in content
    for piece in pieces:
        assert piece.lower().encode() not in content


def test_the_plan_may_give_the_time_of_injection(dicom) -> None:
    folder, plan, _ = dicom
    plan["subjects"][0]["second"]["injection_time"] = 60.0
    with pytest.raises(InputError, match=r"second: activity before the injection; got .* by 60 s"):
        IMPORTERS["dicom"].open(written(folder, plan)).read(0)
    plan["subjects"][0]["second"]["unusual_activity"] = True
    source = IMPORTERS["dicom"].open(written(folder, plan))
    two = series_array(seed=1)[..., ::-1]
    read = source.read(0)["tracers"]
    rate = np.log(2) / FDG.half_life
    part = (1 - np.exp(-60 * rate)) / (1 - np.exp(-300 * rate))  # of the third frame
    wanted = (120 * two[:, 1] + 300 * part * two[:, 2]) / 180
    assert np.allclose(read[:, 1, 1], wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sidecar", "first.json"),
        ("units", "Bq/mL"),
        ("frame_end_times", True),
        ("decay_corrected", False),
        ("decay_reference", 0.0),
    ],
)
def test_what_dicom_headers_say_is_not_for_the_plan(dicom, key: str, value: Any) -> None:
    folder, plan, _ = dicom
    plan["subjects"][0]["second"][key] = value
    with pytest.raises(InputError, match=rf"subjects\.0\.second\.{key} is not for DICOM"):
        IMPORTERS["dicom"].open(written(folder, plan))


def test_a_swapped_pair_of_dicom_series_is_found(dicom) -> None:
    folder, plan, pieces = dicom
    entry = plan["subjects"][0]
    entry["first"], entry["second"] = entry["second"], entry["first"]
    with pytest.raises(InputError, match=r"subjects\.0\.first: half-life; got 6588 s") as caught:
        IMPORTERS["dicom"].open(written(folder, plan))
    assert not [piece for piece in pieces if piece in str(caught.value)]
