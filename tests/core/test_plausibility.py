"""What numbers can be: another unit is refused or asked for, and what is right passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtsinn.core.config import find_config, read_yaml
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import ELEMENTS, HALF_LIVES, isotope_half_life
from dtsinn.core.plausibility import (
    Answers,
    check_activity,
    check_before_injection,
    check_decay,
    check_dose,
    check_half_life,
    check_other_unit,
    check_times,
    check_voxels,
    usable_dose,
)
from dtsinn.core.protocol import (
    load_protocol,
    protocol_names,
    protocol_of_frames,
    protocol_text,
)
from dtsinn.core.seeds import generator

TISSUE = np.full((2, 3, 4, 5), 5.0)
"""[S, T, Y, X] kBq/mL: 120 voxels, 40 of a frame."""


@pytest.mark.parametrize(
    ("name", "half_life"),
    [
        ("Fluorine F^18^", 6588.0),
        ("Fluorine-18 (18F)", 6588.0),
        ("F-18 FDG", None),
        ("68mGa", None),
        ("C-11 and F-18", None),
        ("Xy-7", None),
        ("F-18 and Xy-7", None),
        ("a word", None),
        ("18", None),
        ("", None),
    ],
)
def test_nuclides_are_known_by_their_names(name: str, half_life: float | None) -> None:
    assert isotope_half_life(name) == half_life


@pytest.mark.parametrize("nuclide", HALF_LIVES)
def test_nuclides_are_known_in_all_spellings(nuclide: str) -> None:
    symbol, mass = nuclide.split("-")
    for name in (symbol, *(name for name, known in ELEMENTS.items() if known == symbol)):
        for word in (name, name.lower(), name.capitalize()):
            spellings = ["{0}{1}", "{0}-{1}", "{0} {1}", "{0}^{1}^", "{1}{0}", "{1}-{0}"]
            for spelling in (*spellings, "{1} {0}", "^{1}^{0}", "[{1}{0}]"):
                written = spelling.format(word, mass)
                assert isotope_half_life(written) == HALF_LIVES[nuclide], written


@pytest.mark.parametrize("half_life", [*HALF_LIVES.values(), 1218.0, 6586.2, 1000.0, 1e6])
def test_half_lives_in_seconds_pass(half_life: float) -> None:
    check_half_life("here", half_life)


@pytest.mark.parametrize(
    ("nuclide", "unit"),
    [
        *itertools.product(["C-11", "F-18", "N-13", "O-15", "Ga-68", "Rb-82", "Cu-64"], [60.0]),
        *itertools.product(["F-18", "Zr-89", "Cu-64"], [3600.0]),
        *itertools.product(["C-11", "F-18", "Rb-82"], [1e-3, 1 / 60]),
        ("I-124", 86400.0),
    ],
)
def test_half_lives_in_other_units_are_asked_for(nuclide: str, unit: float) -> None:
    """As tables print them: 109.8 min, 12.7 h."""
    printed = float(f"{HALF_LIVES[nuclide] / unit:.4g}")
    with pytest.raises(InputError, match=r"here; .*; try seconds, not .*unusual_half_life: yes"):
        check_half_life("here", printed)
    check_half_life("here", printed, ["unusual_half_life"])


@pytest.mark.parametrize("half_life", [0.0, -1.0, float("inf"), float("nan")])
def test_no_answer_makes_a_half_life_of_nothing(half_life: float) -> None:
    with pytest.raises(InputError, match="wanted seconds above 0"):
        check_half_life("here", half_life, ["unusual_half_life"])


@pytest.mark.parametrize("name", protocol_names())
def test_shipped_protocols_pass_and_their_other_units_do_not(name: str, tmp_path: Path) -> None:
    file = read_yaml(find_config("protocols", name))
    for unit in (60.0, 1e-3):
        changed = file | {
            "name": "mine",
            "injections": [time / unit for time in file["injections"]],
            "frames": [[count, seconds / unit] for count, seconds in file["frames"]],
        }
        path = tmp_path / "mine.yaml"
        path.write_text(str(changed))
        with pytest.raises(InputError, match="frame times in seconds, not mi"):
            load_protocol(str(path))
        path.write_text(str(changed | {"unusual_times": "yes"}))
        assert load_protocol(str(path)).injection_time == tuple(changed["injections"])


def test_a_delay_in_minutes_is_asked_for() -> None:
    for delay in (0.0, 60.0, 1200.0):
        check_times("here", [150.0] * 36, (0.0, delay))
    for delay in (5.0, 20.0, 59.0):
        with pytest.raises(InputError, match=r"here: injections; .*unusual_times: yes in the plan"):
            check_times("here", [150.0] * 36, (0.0, delay))
        check_times("here", [150.0] * 36, (0.0, delay), ["unusual_times"])


def test_frames_of_a_store_are_written_so_that_they_can_be_read_again(tmp_path: Path) -> None:
    """What an older version stored in any unit can still be used."""
    for unit in (1.0, 60.0, 1e-3):
        own = protocol_of_frames("own", [0.0, 600 / unit], [600 / unit] * 2, [0.0, 600 / unit])
        (tmp_path / "own.yaml").write_text(protocol_text(own))
        assert load_protocol(str(tmp_path / "own.yaml")).frame_edges == own.frame_edges


@pytest.mark.parametrize(
    ("frames", "what"),
    [([1.0] * 300, ""), ([60.0] * 90, ""), ([5.0] * 24 + [30.0] * 8, ""), ([10.0] * 6, "minutes")],
)
def test_short_frames_are_none_of_another_unit(frames: list[float], what: str) -> None:
    if not what:
        check_times("here", frames)
        return
    with pytest.raises(InputError, match=f"seconds, not {what}"):
        check_times("here", frames)


def test_short_scans_of_short_lived_nuclides_pass() -> None:
    """4 min are 4 h of none of them, but 10 s may be 10 min."""
    for nuclide in ("O-15", "Rb-82", "N-13", "Cu-62"):
        check_times("here", [5.0] * 24 + [10.0] * 12, half_life=HALF_LIVES[nuclide])
        with pytest.raises(InputError, match="seconds, not minutes"):
            check_times("here", [0.1] * 100, half_life=HALF_LIVES[nuclide])
    for half_life in (None, HALF_LIVES["F-18"]):
        with pytest.raises(InputError, match="seconds, not minutes"):
            check_times("here", [10.0] * 24, half_life=half_life)


REFUSED: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str | None]] = {
    "voxels in m": (check_voxels, ("here", [0.002, 0.002]), None),
    "voxels in cm": (check_voxels, ("here", [2.0, 0.2]), "unusual_voxels"),
    "voxels in um": (check_voxels, ("here", [2000.0]), None),
    "weight in g": (check_dose, ("here", 70_000.0, 300.0), None),
    "weight of a rat in g": (check_dose, ("here", 300.0, 30.0), "unusual_dose"),
    "weight of a mouse in g": (check_dose, ("here", 25.0, 10.0), "unusual_dose"),
    "dose in Bq": (check_dose, ("here", 70.0, 3e8), None),
    "dose in kBq": (check_dose, ("here", 70.0, 3e5), None),
    "dose in mCi": (check_dose, ("here", 70.0, 10.0), "unusual_dose"),
    "no weight": (check_dose, ("here", 0.0, None), None),
    "weight in pounds": (check_other_unit, ("here", 154.3, 70.0), "unusual_dose"),
    "dose in mCi, in the plan": (check_other_unit, ("here", 10.0, 370.0), "unusual_dose"),
    "a correction to a time in ms": (check_decay, ("here", np.array([1e-9, 1.0])), "unusual_decay"),
    "a correction by 2^30": (check_decay, ("here", np.array([1.0, 1e9])), "unusual_decay"),
    "Bq said to be kBq": (check_activity, ("here", 6000 * TISSUE), "unusual_activity"),
    "hotter than a syringe": (check_activity, ("here", 1e5 * TISSUE), None),
    "kBq said to be Bq": (check_activity, ("here", 1e-3 * TISSUE), "unusual_activity"),
    "negative throughout": (check_activity, ("here", -TISSUE), None),
    "nothing": (check_activity, ("here", 0 * TISSUE), None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_what_is_strange_asked_for(case: str) -> None:
    check, given, key = REFUSED[case]
    with pytest.raises(InputError) as caught:
        check(*given)
    assert str(caught.value).startswith("here")
    assert (f"{key}: yes in the plan" in str(caught.value)) is (key is not None)
    every = frozenset(Answers.__dataclass_fields__)
    if key is None:
        with pytest.raises(InputError):
            check(*given, every)
    else:
        check(*given, [key])
        with pytest.raises(InputError):
            check(*given, every - {key})


def test_people_and_mice_pass() -> None:
    for weight_kg, dose_MBq in ((70.0, 300.0), (0.025, 10.0), (0.3, 30.0), (150.0, 1500.0)):
        check_dose("here", weight_kg, dose_MBq)
        assert usable_dose(weight_kg, dose_MBq) == (weight_kg, dose_MBq)
    assert usable_dose(70.0, 3e8) == (None, None)
    check_other_unit("here", 60.0, 70.0)
    check_voxels("here", [0.4, 3.0, 14.4])
    for scale in (0.1, 1.0, 100.0):
        check_activity("here", scale * TISSUE)


@pytest.mark.parametrize("share", [0.01, 0.02, 0.04, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    ("kBq_mL", "weight_kg", "dose_MBq"), [(20.0, 70.0, 300.0), (300.0, 0.025, 10.0)]
)
def test_a_small_object_in_a_large_field_passes(
    share: float, noise: float, kBq_mL: float, weight_kg: float, dose_MBq: float
) -> None:
    """A brain and a mouse, with noise in them and around them, and voxels hot by chance."""
    rng = generator(0, "field")
    shape = (4, 2, 60, 60)
    field = rng.normal(0.0, noise * kBq_mL, shape)
    body = rng.random((4, 1, 60, 60)) < share
    field += body * kBq_mL * rng.normal(1.0, 0.3, shape)
    field[0, :, 0, :5] = 1e6
    given = {"weight_kg": weight_kg, "dose_MBq": dose_MBq}
    check_activity("here", field)
    check_activity("here", field, **given)
    for factor in (1e-3, 1e3):
        with pytest.raises(InputError, match="here: activity"):
            check_activity("here", factor * field, **given)
    with pytest.raises(InputError, match="here: activity"):
        check_activity("here", 1e3 * field)


def test_hot_voxels_alone_are_no_body() -> None:
    field = np.zeros((2, 2, 40, 40))
    field[0, :, 3, 4] = 5.0
    with pytest.raises(InputError, match=r"got 0 kBq/mL in what is hot; .*unusual_activity: yes"):
        check_activity("here", field)
    with pytest.raises(InputError, match=r"got -1 kBq/mL in what is hot"):
        check_activity("here", field - 1)


def test_dose_and_weight_bound_the_activity() -> None:
    """40 voxels of 1 mL with 5 kBq/mL hold 0.2 MBq."""
    check_activity("here", TISSUE, weight_kg=70.0, dose_MBq=300.0, voxel_mL=1.0)
    with pytest.raises(
        InputError, match=r"got 0.2 MBq in frame 0; wanted no more than the dose, 0"
    ):
        check_activity("here", TISSUE, weight_kg=0.02, dose_MBq=0.1, voxel_mL=1.0)
    for scale in (0.01, 1000.0):
        with pytest.raises(InputError, match="unusual_activity: yes"):
            check_activity("here", scale * TISSUE, weight_kg=70.0, dose_MBq=300.0)


def test_activity_before_an_injection_is_asked_for() -> None:
    mean_T, ends = np.array([0.01, 0.02, 1.0, 0.8]), [60.0, 120.0, 180.0, 240.0]
    check_before_injection("here", mean_T, ends, 120.0)
    with pytest.raises(InputError, match="got 100% of the brightest frame in a frame that ends by"):
        check_before_injection("here", mean_T, ends, 200.0)
    check_before_injection("here", mean_T, ends, 200.0, ["unusual_activity"])
