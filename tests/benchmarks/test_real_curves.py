"""The comparison with real curves, on curves that a model made."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import real_curves
from benchmarks.real_curves import BLOOD, TACS
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIVES, decay_correction
from dtsinn.core.seeds import generator
from dtsinn.simulation.kinetics import frame_averages
from tests.benchmarks.test_benchmarks import check_written, silent

DURATIONS = (*[10.0] * 6, *[30.0] * 4, *[180.0] * 4, *[360.0] * 12)
KINETICS = np.array([[0.12, 0.20, 0.10, 0.05, 0.05], [0.20, 0.25, 0.12, 0.06, 0.04]])


def write_rows(path: Path, rows: Iterator[dict[str, object]]) -> None:
    kept = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people, scanned twice; noise whose variance is activity over duration."""
    decay = np.log(2) / HALF_LIVES["C-11"]
    edges = np.concatenate([[15.0], 15.0 + np.cumsum(DURATIONS)])
    times = np.arange(0.0, edges[-1] + 1, 5.0)
    since = np.maximum(times - 20, 0)
    plasma = 900 * since / 20 * np.exp(-since / 20) + 60 * (1 - np.exp(-since / 30))
    blood = 1.2 * plasma
    grid = np.union1d(times, edges)
    parent, whole = (
        np.interp(grid, times, one * np.exp(-decay * times)) for one in (plasma, blood)
    )
    clean_RT = frame_averages(KINETICS, grid, parent, whole, decay, edges)
    correction_T = decay_correction(edges[:-1], np.diff(edges), HALF_LIVES["C-11"], 0.0)
    rng, scans = generator(0, "real curves"), ("a_1", "a_2", "b_1", "b_2")

    def tacs() -> Iterator[dict[str, object]]:
        for scan in scans:
            sd = 0.3 * np.sqrt(clean_RT / np.diff(edges))
            seen = (clean_RT + sd * rng.standard_normal(clean_RT.shape)) * correction_T
            for t, duration in enumerate(DURATIONS):
                yield {"PET": scan, "Times": 0, "Weights": 1.0, "A": seen[0, t], "B": seen[1, t],
                       "StartTime": edges[t], "Duration": duration}  # fmt: skip

    write_rows(tmp_path / TACS, tacs())
    write_rows(
        tmp_path / BLOOD,
        (
            {"PET": scan, "Time": t, "Cbl_dispcorr": b, "Cpl_metabcorr": p}
            for scan in scans
            for t, b, p in zip(times, blood, plasma, strict=True)
        ),
    )
    return tmp_path


def test_it_finds_what_was_put_in(folder: Path, tmp_path: Path) -> None:
    result = real_curves.run(path=folder, say=silent)
    check_written(result, tmp_path / "out")
    for method in ("Logan", "1TCM", "2TCM"):
        assert result.data["agreement"][method]["V_T"] < 1e-3
    volumes = result.data["retest"]["2TCM"]
    assert volumes["A"]["V_T"] == pytest.approx(0.12 / 0.2 * (1 + 0.1 / 0.05), rel=0.03)
    one, low, high = result.data["exponents"]["all frames"]
    assert low < one < high
    assert one == pytest.approx(1, abs=0.25)
    assert result.data["averages"]["sums over steps of 0.1 s, at most"] < 0.01


def test_it_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=TACS):
        real_curves.run(path=tmp_path, say=silent)
