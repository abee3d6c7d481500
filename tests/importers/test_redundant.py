"""Facts that headers say twice: a check runs with those that are there, and says what they say.

A wrong description is refused, or gives the right numbers, whichever redundant fact is left out;
a right one gives the same numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.importers.activity import merge, to_present_activity
from dtsinn.importers.nifti.sidecar import read_sidecar
from dtsinn.importers.plan import MixturePlan, SinglePlan

C11, F18 = 1224.0, 6588.0
START = [100.0 + 60.0 * frame for frame in range(60)]
INJECTED = 90.0


def factors(half_life: float = F18, reference: float = INJECTED) -> list[float]:
    """By what a scanner multiplies, by quadrature."""
    times = np.array(START)[:, None] + 60.0 * (np.arange(600) + 0.5) / 600
    return list(1.0 / np.mean(np.exp2(-(times - reference) / half_life), axis=1))


RIGHT: dict[str, Any] = {
    "FrameTimesStart": START,
    "FrameDuration": [60.0] * 60,
    "ScanStart": 100.0,
    "InjectionStart": INJECTED,
    "TracerRadionuclide": "F18",
    "RadionuclideHalfLife": F18,
    "Units": "Bq/mL",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": INJECTED,
    "DecayCorrectionFactor": factors(),
}
REDUNDANT = [
    *("ScanStart", "TracerRadionuclide", "RadionuclideHalfLife", "ImageDecayCorrectionTime"),
    *("DecayCorrectionFactor", "InjectionStart"),
]


def present(
    folder: Path, fields: dict[str, Any], tracer: float | None = F18, **plan: Any
) -> np.ndarray:
    """[T] by what voxels are multiplied."""
    path = folder / "scan.json"
    path.write_text(json.dumps(fields))
    kind = MixturePlan if tracer is None else SinglePlan
    known = merge(kind(image="scan.nii", **plan), read_sidecar(path, "here.sidecar"), "here")
    return to_present_activity(known, tracer, "here")


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize("missing", [(), *((name,) for name in REDUNDANT)])
@pytest.mark.parametrize("tracer", [F18, None])
def test_a_right_sidecar_gives_the_same_without_any_redundant_fact(
    tmp_path: Path, missing: tuple[str, ...], tracer: float | None
) -> None:
    wanted = 1e-3 / np.array(factors())
    assert np.allclose(present(tmp_path, without(RIGHT, *missing), tracer), wanted, rtol=2e-5)


def test_factors_alone_tell_half_life_and_reference(tmp_path: Path) -> None:
    """Also of a mixture, which has no half-life of its own, and with another reference."""
    alone = ("TracerRadionuclide", "RadionuclideHalfLife", "ImageDecayCorrectionTime")
    for half_life, reference in ((F18, INJECTED), (C11, 100.0), (F18, -2000.0)):
        said = factors(half_life, reference)
        fields = without(RIGHT, *alone) | {"DecayCorrectionFactor": said}
        for tracer in (None, half_life):
            assert np.allclose(present(tmp_path, fields, tracer), 1e-3 / np.array(said))


WRONG: dict[str, dict[str, Any]] = {
    "inverse factors": {"DecayCorrectionFactor": [1 / factor for factor in factors()]},
    "factors of one": {"DecayCorrectionFactor": [1.0] * 60},
    "factors of another nuclide": {"DecayCorrectionFactor": factors(C11)},
    "factors in another order": {"DecayCorrectionFactor": factors()[::-1]},
    "one wrong factor": {"DecayCorrectionFactor": [*factors()[:-1], 2 * factors()[-1]]},
    "factors of any size": {"DecayCorrectionFactor": [50 * factor for factor in factors()]},
    "a percentage": {"DecayCorrectionFactor": [100 * factor for factor in factors()]},
    "a half-life in minutes": {"RadionuclideHalfLife": 109.8},
    "another nuclide's half-life": {"RadionuclideHalfLife": C11},
    "another nuclide": {"TracerRadionuclide": "C11"},
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("tracer", [F18, None])
def test_a_wrong_sidecar_is_refused_without_any_redundant_fact(
    tmp_path: Path, case: str, tracer: float | None
) -> None:
    said = next(iter(WRONG[case]))
    for name in ["", *REDUNDANT]:
        fields = without(RIGHT | WRONG[case], name)
        if name == said:  # what is wrong is gone
            present(tmp_path, fields, tracer)
            continue
        with pytest.raises(InputError, match=r"^here"):
            present(tmp_path, fields, tracer)


def test_a_half_life_of_another_nuclide_is_found_by_the_factors_or_the_tracer(
    tmp_path: Path,
) -> None:
    """Where the nuclide's name is missing, too."""
    fields = without(RIGHT, "TracerRadionuclide") | {"RadionuclideHalfLife": C11}
    with pytest.raises(InputError, match="DecayCorrectionFactor of frame"):
        present(tmp_path, fields)


def test_a_reference_that_only_factors_tell_may_be_said_to_be_so(tmp_path: Path) -> None:
    said = factors(F18, INJECTED - 4 * F18)
    fields = without(RIGHT, "ImageDecayCorrectionTime") | {"DecayCorrectionFactor": said}
    with pytest.raises(InputError, match=r"which correct to -2\d+ s; .*unusual_decay: yes in the"):
        present(tmp_path, fields)
    wanted = 1e-3 / np.array(said)
    assert np.allclose(present(tmp_path, fields, unusual_decay="yes"), wanted)


SUV = without(RIGHT, "Units") | {"Units": "g/mL"}
GIVEN = {
    "BodyWeight": 75.0,
    "InjectedRadioactivity": 300.0,
    "InjectedRadioactivityUnits": "MBq",
}


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        (GIVEN, {}),
        (GIVEN | {"InjectedRadioactivity": 3e8, "InjectedRadioactivityUnits": "Bq"}, {}),
        (GIVEN | {"BodyWeight": 75_000.0, "BodyWeightUnits": "g"}, {}),
        (without(GIVEN, "BodyWeight") | {"PatientWeight": 75.0}, {}),
        (without(GIVEN, "BodyWeight"), {"weight_kg": 75.0}),
        ({"BodyWeight": 75.0, "InjectedRadioactivity": 300.0}, {"dose_MBq": 300.0}),
        (GIVEN | {"BodyWeight": 60.0}, {"weight_kg": 75.0}),
        ({}, {"weight_kg": 75.0, "dose_MBq": 300.0}),
    ],
)
def test_weight_and_dose_come_from_the_plan_or_the_sidecar(
    tmp_path: Path, fields: dict[str, Any], plan: dict[str, Any]
) -> None:
    wanted = 4.0 / np.array(factors())
    assert np.allclose(present(tmp_path, SUV | fields, **plan), wanted)


@pytest.mark.parametrize(
    ("fields", "plan", "message"),
    [
        (without(GIVEN, "BodyWeight"), {}, "SUV without body weight; wanted BodyWeight in kg"),
        (without(GIVEN, "InjectedRadioactivityUnits"), {}, "SUV without dose; .* with its Units"),
        (GIVEN | {"BodyWeight": 75_000.0}, {}, "body weight; got 75000 kg; wanted 0.005 to 700"),
        (GIVEN | {"InjectedRadioactivity": 3e8}, {}, r"dose; got 3e\+08 MBq"),
        (GIVEN, {"weight_kg": 165.3}, "weight_kg: weights in two units; got 165.3 in the plan and"),
        (GIVEN, {"dose_MBq": 300_000.0}, r"dose; got 300000 MBq; wanted 0\.1 to 10000 MBq"),
        (GIVEN, {"dose_MBq": 8.108}, "dose_MBq: doses in two units; got 8.108 in the plan"),
    ],
)
def test_weight_and_dose_in_other_units_are_refused(
    tmp_path: Path, fields: dict[str, Any], plan: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        present(tmp_path, SUV | fields, **plan)
