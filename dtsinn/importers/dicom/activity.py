"""From stored values of a PET series to activity actually present: its unit, its decay correction.

Axis letters: T frame, Z slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import decay_correction
from dtsinn.core.plausibility import check_decay, check_dose
from dtsinn.importers.decay import FACTOR_SHARE
from dtsinn.importers.dicom.clock import Clock
from dtsinn.importers.dicom.series import Series, image_name, known_code, require_shared

OTHER_UNITS = (
    *("CNTS", "NONE", "CM2", "CM2ML", "PCNT", "CPS", "MGMINML", "UMOLMINML", "UMOLML"),
    *("MLMING", "MLG", "1CM", "PROPCNTS", "PROPCPS", "MLMINML", "MLML", "STDDEV"),
)
"""Defined terms of Units that are no activity concentration (DICOM PS3.3 C.8.9.1.1.3)."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What the user's plan says for images in SUV; None means the header's.

    Attributes:
        weight_kg: Body weight.
        dose_MBq: Dose at the injection.
    """

    weight_kg: float | None = None
    dose_MBq: float | None = None


@dataclass(frozen=True, kw_only=True)
class Injected:
    """What is known of the radiopharmaceutical.

    Attributes:
        half_life: With which the scanner decay-corrected, s, or None.
        time: Of the injection, s on the clock of the series, or None.
        weight_kg: Body weight, or None.
        dose_MBq: Dose at the injection, or None.
        accepted: What the user's plan says yes to of what is unusual.
    """

    half_life: float | None
    time: float | None
    weight_kg: float | None
    dose_MBq: float | None
    accepted: frozenset[str]


def scaling(series: Series, clock: Clock, injected: Injected) -> tuple[FloatArray, FloatArray]:
    """How stored values become kBq/mL, frame-averaged and not decay-corrected.

    Returns:
        [T, Z] slope and intercept.

    Raises:
        InputError: The unit or the correction is unknown, contradicts itself, or lacks something.
    """
    slope_TZ = _slopes(series)
    intercept_TZ = np.array([[header.intercept for header in frame] for frame in series.images])
    correction = _decay_correction_kind(series)
    factor_TZ = np.ones_like(slope_TZ)
    reference = None
    if correction != "NONE":
        if injected.half_life is None:
            raise InputError(
                f"{series.where}: nothing says with which half-life the images are decay-corrected",
                wanted="one RadionuclideHalfLife in the header",
                hint="half_life: SECONDS in the plan",
            )
        factor_TZ, reference = _applied_factors(
            series, clock, injected.half_life, injected, correction
        )
    scale = _to_activity(series, injected, reference) / factor_TZ
    return slope_TZ * scale, intercept_TZ * scale


def header_dose(series: Series) -> tuple[float | None, float | None]:
    """Body weight, kg, and dose, MBq, by the header; None where it does not say, or several."""
    weights = {header.weight for header in series.all}
    weight = weights.pop() if len(weights) == 1 else None
    drugs = require_shared(series, lambda header: header.drugs, "radiopharmaceutical")
    dose = drugs[0].dose if len(drugs) == 1 else None
    return weight or None, dose * 1e-6 if dose else None


def is_corrected(series: Series) -> bool:
    """Whether the images are decay-corrected.

    Raises:
        InputError: The header does not say, or contradicts itself.
    """
    return _decay_correction_kind(series) != "NONE"


def _slopes(series: Series) -> FloatArray:
    values = [[header.slope for header in frame] for frame in series.images]
    for frame, row in enumerate(values):
        for z, slope in enumerate(row):
            if slope is None or slope <= 0:
                raise InputError(
                    f"{series.where}: RescaleSlope of {image_name(frame, z)}",
                    got="none" if slope is None else f"{slope:g}",
                    wanted="a number above 0",
                )
    return np.array(values, dtype=np.float64)


def _decay_correction_kind(series: Series) -> str:
    """NONE, START or ADMIN, where nothing in the header speaks against it."""
    where = series.where
    kind = require_shared(series, lambda header: header.decay_correction, "DecayCorrection")
    if kind not in ("NONE", "START", "ADMIN"):
        raise InputError(
            f"{where}: DecayCorrection", got=known_code(kind, ()), wanted="NONE, START or ADMIN"
        )
    steps = require_shared(series, lambda header: header.corrections, "CorrectedImage") - {""}
    if steps and ("DECY" in steps) is (kind == "NONE"):
        raise InputError(
            f"{where}: DecayCorrection and CorrectedImage contradict each other",
            got=f"{kind} and {'DECY' if 'DECY' in steps else 'no DECY'}",
            wanted="one account of the decay correction",
            hint="the series as the scanner wrote it",
        )
    factors = {header.decay_factor for header in series.all} - {None, 0.0, 1.0}
    if kind == "NONE" and factors:
        raise InputError(
            f"{where}: DecayCorrection and DecayFactor contradict each other",
            got="NONE and factors other than 1",
            wanted="one account of the decay correction",
        )
    return kind


def _applied_factors(
    series: Series, clock: Clock, half_life: float, injected: Injected, kind: str
) -> tuple[FloatArray, float]:
    """[T, Z] by what the scanner multiplied, and the time that it corrected to.

    START is the start of the acquisition: that of the first frame in DICOM's words, the series
    time on scanners that cut a series out of a longer one (Siemens). DecayFactor tells which; it
    is used as it stands, once it agrees with the times.
    """
    places = [injected.time] if kind == "ADMIN" else [0.0, clock.series_start]
    references = sorted({place for place in places if place is not None}, key=abs)
    if not references:
        raise InputError(
            f"{series.where}: decay-corrected to the injection, whose time is not known",
            wanted="RadiopharmaceuticalStartDateTime in the header",
            hint="injection_time: SECONDS after the start of the scan, in the plan",
        )
    start_T, duration_T = clock.frames.start, clock.frames.duration
    expected_RT = np.array(
        [decay_correction(start_T, duration_T, half_life, time) for time in references]
    )
    check_decay(f"{series.where}: frames", expected_RT, injected.accepted)
    # Some scanners write 0 for a factor that they do not tell.
    said = [[header.decay_factor or np.nan for header in frame] for frame in series.images]
    said_TZ = np.array(said, dtype=np.float64)
    missing_TZ = np.isnan(said_TZ)
    if missing_TZ.all() and np.abs(expected_RT / expected_RT[0] - 1).max() > FACTOR_SHARE:
        raise InputError(
            f"{series.where}: decay-corrected to the start, of which there are two",
            got=f"a series time {-references[-1]:g} s before the first frame",
            wanted="DecayFactor, to tell which",
        )
    miss_RTZ = np.where(missing_TZ, 0.0, np.abs(said_TZ / expected_RT[:, :, None] - 1))
    best = int(np.argmin(miss_RTZ.max(axis=(1, 2))))
    if miss_RTZ[best].max() > FACTOR_SHARE:
        frame, z = np.unravel_index(int(np.argmax(miss_RTZ[best])), said_TZ.shape)
        raise InputError(
            f"{series.where}: DecayFactor of {image_name(int(frame), int(z))}",
            got=f"{said_TZ[frame, z]:.5g}",
            wanted=f"{expected_RT[best, frame]:.5g}, as DecayCorrection {kind} and the frames give "
            f"for a half-life of {half_life:g} s",
            hint="the series as the scanner wrote it",
        )
    return np.where(missing_TZ, expected_RT[best][:, None], said_TZ), references[best]


def _to_activity(series: Series, injected: Injected, reference: float | None) -> float:
    """By what rescaled values are multiplied to be kBq/mL."""
    units = require_shared(series, lambda header: header.units, "Units")
    if units == "BQML":
        return 1e-3
    if units == "GML":
        return _suv(series, injected, reference)
    raise InputError(
        f"{series.where}: Units",
        got=known_code(units, OTHER_UNITS),
        wanted="BQML, or GML with a body weight and a dose",
        hint="an export in Bq/mL",
    )


def _suv(series: Series, injected: Injected, reference: float | None) -> float:
    """SUV = C weight / dose, the dose at the time to which C is corrected (QIBA, SUV pseudo-code).

    C in kBq/mL is then SUV x MBq / kg.
    """
    where = series.where
    kind = require_shared(series, lambda header: header.suv_type, "SUVType")
    if kind not in ("", "BW"):
        raise InputError(
            f"{where}: SUVType",
            got=known_code(kind, ("BSA", "LBM", "LBMJAMES128", "LBMJANMA", "IBW")),
            wanted="BW, by body weight",
            hint="an export in Bq/mL",
        )
    if reference is None or injected.half_life is None or injected.time is None:
        raise InputError(
            f"{where}: SUV cannot be undone",
            got="no decay correction" if reference is None else "no time of injection",
            wanted="a decay correction to START or ADMIN, and the time of injection",
            hint="an export in Bq/mL",
        )
    weight, dose = injected.weight_kg, injected.dose_MBq
    if weight is None or dose is None:
        raise InputError(
            f"{where}: SUV without body weight and dose",
            wanted="PatientWeight in kg and RadionuclideTotalDose in Bq",
            hint="weight_kg and dose_MBq in the plan, or an export in Bq/mL",
        )
    check_dose(where, weight, dose, injected.accepted)
    return dose * math.exp2((injected.time - reference) / injected.half_life) / weight
