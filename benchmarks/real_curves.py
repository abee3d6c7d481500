"""``real_curves PATH``: fits, frame averages and the noise law against curves of real scans.

PATH is a folder with ``pbr28_tacdata.csv`` and ``pbr28_blooddata.csv`` of kinfitr's ``data-raw``
(G. J. Matheson, MIT licence): regional curves and arterial blood of ten people scanned twice with
[11C]PBR28 (Collste et al., Eur J Nucl Med Mol Imaging 43:173, 2016; Matheson et al., EJNMMI
Research 7:58, 2017). Nothing of it is copied: results are figures over all scans.

Shape letters: R region, T frame, I blood sample, S subject.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import least_squares
from scipy.signal import lfilter
from scipy.stats import linregress

from benchmarks.report import Result, Say, Table, facts_table
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIVES, decay_correction
from dtsinn.core.seeds import generator
from dtsinn.kinetics.agreement import icc31
from dtsinn.kinetics.compartments import CompartmentFit, ModelInput, fit_compartments
from dtsinn.kinetics.curves import FloatArray, TracerFrames
from dtsinn.kinetics.graphical import input_means, logan, tissue_area
from dtsinn.simulation.kinetics import frame_averages, impulse_response

TACS, BLOOD = "pbr28_tacdata.csv", "pbr28_blooddata.csv"
OTHER_COLUMNS = ("PET", "Times", "Weights", "StartTime", "Duration")
LOGAN_FROM = 30.0
"""Minutes from which Logan's plot counts as straight (uncited)."""
STARTS = ((0.1, 0.1, 0.05, 0.05, 0.05), (0.3, 0.5, 0.2, 0.1, 0.05), (0.05, 0.05, 0.02, 0.02, 0.05),
          (0.1, 0.3, 0.3, 0.05, 0.02))  # fmt: skip
"""K1, k2, k3, k4, vB from which scipy searches; the best end stands."""
INPUT_STEP_S = 5.0
"""Of the grid on which an input counts as linear, as it is present."""
SLOWEST_K4 = 1e-3
"""1/min; a two-tissue fit that returns more slowly has no V_T that 90 min could tell (uncited)."""
BLOOD_VOLUME = 4
"""Place of vB among the kinetics."""
FINE_S = 0.1
"""Step of the quadrature that frame averages are compared with."""
LATE_S = 300.0
"""From here on a curve is smooth: what misses the model is noise rather than the first pass."""
REGRESSION_DRAWS = 2000
LENGTHS = {"up to 30 s": (0.0, 30.0), "of 1 to 3 min": (30.0, 180.0), "above": (180.0, np.inf)}
"""Lengths of frames, s: above and up to."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan; activities as they were present, in the file's unit."""

    person: str
    names: tuple[str, ...]
    """Of the regions."""
    curve_RT: FloatArray
    """Frame averages."""
    weight_T: FloatArray
    given: ModelInput

    @property
    def frames(self) -> TracerFrames:
        """From the injection."""
        return self.given.frames


def run(
    *, path: Annotated[Path, typer.Argument(help="Folder of the two CSV files.")], say: Say
) -> Result:
    """Compare fits with scipy, scans with rescans, and the noise law with residuals; a minute.

    Example: python -m benchmarks real_curves ~/kinfitr/data-raw
    """
    scans = read_scans(path)
    say(f"{len(scans)} scans of {len({scan.person for scan in scans})} people")
    fits = {tissues: [fit(scan, tissues) for scan in scans] for tissues in (1, 2)}
    volumes = {"Logan": [logan_volume(scan) for scan in scans]}
    volumes |= {f"{n}TCM": [told_volume(one, n)[0] for one in found] for n, found in fits.items()}
    say("the same fits by scipy")
    agreement = {"Logan": compare_logan(scans)}
    agreement |= {f"{n}TCM": compare_fits(scans, found, n) for n, found in fits.items()}
    averages = compare_averages(scans, fits[2])
    exponents = {
        "all frames": noise_exponent(scans, fits[2], 0.0),
        f"from {LATE_S / 60:g} min on": noise_exponent(scans, fits[2], LATE_S),
    }
    repeats = {name: retest(scans, found) for name, found in volumes.items()}
    return Result(
        name="real_curves",
        title="Fits, frame averages and the noise law on real curves",
        notes=_notes(scans),
        tables=[
            _agreement_table(agreement),
            _retest_table(repeats),
            facts_table(
                {what: f"{off:.1e} %" for what, off in averages.items()},
                "Frame averages of the two-tissue fits: ours is the exact integral",
                "off it by",
            ),
            facts_table(
                {what: f"{one:.2f} [{low:.2f}, {high:.2f}]"
                 for what, (one, low, high) in exponents.items()},
                "Exponent b of residual variance ~ (activity / duration)^b; the noise law says 1",
            ),
        ],
        data={
            "agreement": agreement,
            "retest": repeats,
            "averages": averages,
            "exponents": exponents,
        },
    )  # fmt: skip


def read_scans(path: Path) -> list[Scan]:
    """The scans of a folder.

    Raises:
        InputError: A file is missing, or lacks a column.
    """
    tacs, blood = _read(path / TACS, OTHER_COLUMNS), _read(path / BLOOD, ("PET", "Time"))
    names = tuple(name for name in tacs[next(iter(tacs))][0] if name not in OTHER_COLUMNS)
    half_life = HALF_LIVES["C-11"]
    scans = []
    for scan, rows in tacs.items():
        kept = [row for row in rows if float(row["Duration"]) > 0]
        start_T, duration_T, weight_T = (
            np.array([float(row[name]) for row in kept])
            for name in ("StartTime", "Duration", "Weights")
        )
        correction_T = decay_correction(start_T, duration_T, half_life, 0.0)
        frames = TracerFrames(
            first=0,
            edge_T=np.append(start_T, start_T[-1] + duration_T[-1]),
            correction_T=correction_T,
            half_life=half_life,
        )
        sampled_I, *sampled = (
            np.array([float(row[name]) for row in blood[scan]])
            for name in ("Time", "Cpl_metabcorr", "Cbl_dispcorr")
        )
        # Late samples lie minutes apart: linear in between is the decay-corrected curve.
        time_I = np.union1d(sampled_I, np.arange(0.0, frames.edge_T[-1], INPUT_STEP_S))
        decay_I = np.exp(-np.log(2.0) / half_life * time_I)
        plasma_I, blood_I = (decay_I * np.interp(time_I, sampled_I, one) for one in sampled)
        corrected_RT = np.array([[float(row[name]) for row in kept] for name in names])
        scans.append(
            Scan(
                person=scan.rpartition("_")[0],
                names=names,
                curve_RT=corrected_RT / correction_T,
                weight_T=weight_T * np.square(correction_T),  # theirs are for corrected curves
                given=ModelInput(
                    time_I=time_I,
                    plasma_I=plasma_I[None],
                    blood_I=blood_I[None],
                    frames=frames,
                ),
            )
        )
    return scans


def _read(path: Path, needed: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Rows of a file by scan."""
    if not path.exists():
        raise InputError(f"no file {path.name} in the folder", hint="data-raw of kinfitr")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in needed if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"{path.name} lacks columns", got=", ".join(missing))
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row["PET"], []).append(row)
    return found


def fit(scan: Scan, tissues: int) -> CompartmentFit:
    """Our fit of all regions; fields are [1, R]."""
    return fit_compartments(scan.curve_RT[None], scan.weight_T, scan.given, tissues=tissues)


def logan_volume(scan: Scan) -> FloatArray:
    """[R] V_T, mL/cm3."""
    plasma = input_means(scan.given.time_I, scan.given.plasma_I[0], scan.frames)
    return logan(scan.frames.correct(scan.curve_RT), plasma, scan.frames, LOGAN_FROM)


def kinetics_of(found: CompartmentFit) -> FloatArray:
    """[R, 5] K1 to vB of a scan's fit."""
    return np.asarray(np.stack([found.K1, found.k2, found.k3, found.k4, found.vB], axis=-1)[0])


def told_volume(found: CompartmentFit, tissues: int) -> FloatArray:
    """V_T, NaN where a two-tissue fit returns too slowly to tell it."""
    return np.where((found.k4 > SLOWEST_K4) | (tissues == 1), found.V_T, np.nan)


def compare_logan(scans: Sequence[Scan]) -> dict[str, float]:
    """Our slope against scipy's line through a plot whose input is integrated by quadrature."""
    worst = 0.0
    for scan in scans:
        frames, late = scan.frames, scan.frames.late(LOGAN_FROM)
        grid = np.arange(0.0, frames.edge_T[-1] + FINE_S / 2, FINE_S)
        present = np.interp(grid, scan.given.time_I, scan.given.plasma_I[0])
        corrected = present * np.exp(np.log(2.0) / frames.half_life * grid)
        area = cumulative_trapezoid(corrected, grid, initial=0)
        twice = cumulative_trapezoid(area, grid, initial=0)
        mean_T = np.diff(np.interp(frames.edge_T, grid, twice)) / frames.duration_T
        curve_RT = frames.correct(scan.curve_RT)
        area_RT = tissue_area(curve_RT, frames)
        for r, ours in enumerate(logan_volume(scan)):
            x, y = mean_T[late] / curve_RT[r, late], area_RT[r, late] / curve_RT[r, late]
            worst = max(worst, abs(ours / linregress(x, y).slope - 1))
    count = len(scans) * len(scans[0].names)
    return {"fits": count, "V_T told": count, "V_T": worst}


def compare_fits(
    scans: Sequence[Scan], fits: Sequence[CompartmentFit], tissues: int
) -> dict[str, float]:
    """Our minima against scipy's: the largest relative differences."""
    free = [0, 1, 4] if tissues == 1 else [0, 1, 2, 3, 4]
    worst = {"sum of squares": 0.0, "V_T": 0.0, "K1": 0.0}
    told = 0
    for scan, found in zip(scans, fits, strict=True):
        volume_R = told_volume(found, tissues)[0]
        for r in range(len(scan.names)):
            cost, (K1, k2, k3, k4, _) = _scipy_fit(scan, r, free)
            pairs = {
                "sum of squares": (float(found.sum_of_squares[0, r]), cost),
                "K1": (float(found.K1[0, r]), K1),
            }
            if np.isfinite(volume_R[r]):
                told += 1
                pairs["V_T"] = (volume_R[r], K1 / k2 * (1 + (k3 / k4 if tissues == 2 else 0.0)))
            for name, (ours, theirs) in pairs.items():
                worst[name] = max(worst[name], abs(ours / theirs - 1))
    return {"fits": len(scans) * len(scans[0].names), "V_T told": told} | worst


def _scipy_fit(scan: Scan, region: int, free: list[int]) -> tuple[float, FloatArray]:
    """Sum of squares and K1 to vB of the best of several searches."""
    model, root_T = _Model(scan), np.sqrt(scan.weight_T)

    def whole(values: FloatArray) -> FloatArray:
        kinetics = np.zeros(5)
        kinetics[free] = values
        return kinetics

    def rest(values: FloatArray) -> FloatArray:
        return np.asarray(root_T * (model.averages(whole(values)[None])[0] - scan.curve_RT[region]))

    lowest = np.where(np.array(free) == BLOOD_VOLUME, -1.0, 1e-8)
    highest = np.where(np.array(free) == BLOOD_VOLUME, 1.0, 60.0)
    ends = [
        least_squares(
            rest,
            np.array(start)[free],
            x_scale=np.array(start)[free],
            bounds=(lowest, highest),
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
            max_nfev=2000,
        )
        for start in STARTS
    ]
    best = min(ends, key=lambda end: float(end.cost))
    return 2 * float(best.cost), whole(best.x)


class _Model:
    """Curves of a scan's input for any kinetics."""

    def __init__(self, scan: Scan) -> None:
        self._given, self._edges = scan.given, scan.frames.edge_T
        self._decay = np.log(2.0) / scan.frames.half_life
        inside = (scan.given.time_I > 0) & (scan.given.time_I < self._edges[-1])
        self._grid = np.unique(np.concatenate([[0.0], scan.given.time_I[inside], self._edges]))
        self._plasma, self._blood = self._inputs(self._grid)

    def _inputs(self, times: FloatArray) -> tuple[FloatArray, FloatArray]:
        plasma, blood = (
            np.interp(times, self._given.time_I, one[0])
            for one in (self._given.plasma_I, self._given.blood_I)
        )
        return plasma, blood

    def averages(self, kinetics_RP: FloatArray) -> FloatArray:
        """[R, T] frame averages, as the product integrates them."""
        return frame_averages(
            kinetics_RP, self._grid, self._plasma, self._blood, self._decay, self._edges
        )

    def moments(self, kinetics_RP: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Times [G] and values [R, G] there, convolved in steps by the trapezoidal rule."""
        times = np.arange(0.0, self._edges[-1] + FINE_S / 2, FINE_S)
        plasma, blood = self._inputs(times)
        share_RM, rate_RM = impulse_response(kinetics_RP)
        value_RG = kinetics_RP[:, 4:5] * blood
        for r, (shares, rates) in enumerate(zip(share_RM, rate_RM, strict=True)):
            for share, rate in zip(shares, rates, strict=True):
                step = np.exp(-(rate + self._decay) * FINE_S)
                tissue = lfilter([FINE_S / 2, FINE_S / 2 * step], [1.0, -step], plasma)
                value_RG[r] += (1 - kinetics_RP[r, 4]) * share * tissue
        return times, value_RG


def compare_averages(scans: Sequence[Scan], fits: Sequence[CompartmentFit]) -> dict[str, float]:
    """Frame averages of fitted models against quadrature, and the middle of a frame against them.

    Returns:
        Percent of the average, over frames that hold at least a tenth of the curve's largest: how
        far sums over fine steps differ from our integral, at most, and how far the value in the
        middle of the frame does, at most and on average, by length of the frame.
    """
    steps_off = 0.0
    middle_off: dict[str, list[FloatArray]] = {name: [] for name in LENGTHS}
    for scan, found in zip(scans, fits, strict=True):
        model, edges, kinetics = _Model(scan), scan.frames.edge_T, kinetics_of(found)
        grid, value_RG = model.moments(kinetics)
        area_RG = cumulative_trapezoid(value_RG, grid, axis=1, initial=0)
        for r, average_T in enumerate(model.averages(kinetics)):
            counts_T = average_T > 0.1 * average_T.max()
            summed_T = np.diff(np.interp(edges, grid, area_RG[r])) / np.diff(edges)
            middle_T = np.interp((edges[1:] + edges[:-1]) / 2, grid, value_RG[r])
            steps_T, off_T = (
                100 * np.abs(other[counts_T] / average_T[counts_T] - 1)
                for other in (summed_T, middle_T)
            )
            steps_off = max(steps_off, float(steps_T.max()))
            length_T = np.diff(edges)[counts_T]
            for name, (low, high) in LENGTHS.items():
                middle_off[name].append(off_T[(length_T > low) & (length_T <= high)])
    averages = {f"sums over steps of {FINE_S:g} s, at most": steps_off}
    for name, parts in middle_off.items():
        together = np.concatenate(parts)
        averages[f"middle of a frame {name}, at most"] = float(together.max())
        averages[f"middle of a frame {name}, mean"] = float(together.mean())
    return averages


def noise_exponent(
    scans: Sequence[Scan], fits: Sequence[CompartmentFit], from_s: float
) -> tuple[float, float, float]:
    """Slope of log residual variance on log(activity / duration), and its interval over scans.

    Each curve has an intercept of its own: regions differ in size, scans in dose.
    """
    points = []
    for scan, found in zip(scans, fits, strict=True):
        model_RT = _Model(scan).averages(kinetics_of(found))
        kept_T = (scan.frames.start_T >= from_s) & (scan.weight_T > 0)
        own = []
        for r in range(len(scan.names)):
            kept = kept_T & (model_RT[r] > 0.01 * model_RT[r].max())
            x = np.log(model_RT[r, kept] / scan.frames.duration_T[kept])
            y = np.log(np.square(scan.curve_RT[r, kept] - model_RT[r, kept]))
            own.append(np.stack([x - x.mean(), y - y.mean()]))
        points.append(np.concatenate(own, axis=1))
    sums = np.array([[(x * y).sum(), (x * x).sum()] for x, y in points])
    draws = generator(0, "bootstrap").integers(len(sums), size=(REGRESSION_DRAWS, len(sums)))
    drawn = sums[draws].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def retest(scans: Sequence[Scan], volumes: Sequence[FloatArray]) -> dict[str, Any]:
    """Test against retest by region: mean of |difference| over the mean of both, percent; ICC."""
    people = list(dict.fromkeys(scan.person for scan in scans))
    pairs = [
        [volume for scan, volume in zip(scans, volumes, strict=True) if scan.person == person]
        for person in people
    ]
    twice_SKR = np.array([pair for pair in pairs if len(pair) == 2])
    found = {}
    for r, name in enumerate(scans[0].names):
        twice_SK = twice_SKR[..., r][np.isfinite(twice_SKR[..., r]).all(axis=1)]
        change_S = 200 * np.abs(twice_SK[:, 1] - twice_SK[:, 0]) / twice_SK.sum(axis=1)
        found[name] = {
            "people": len(twice_SK),
            "V_T": float(twice_SK.mean()),
            "difference": float(change_S.mean()),
            "icc": icc31(twice_SK),
        }
    return found


def _agreement_table(agreement: dict[str, dict[str, float]]) -> Table:
    def cell(found: dict[str, float], name: str) -> str:
        return f"{found[name]:.1e}" if name in found else ""

    rows = [
        [
            method,
            str(found["fits"]),
            cell(found, "sum of squares"),
            cell(found, "K1"),
            cell(found, "V_T"),
            str(found["V_T told"]),
        ]
        for method, found in agreement.items()
    ]
    return Table(
        title="Our fits against scipy's: relative differences, at most",
        columns=["", "fits", "sum of squares", "K1", "V_T", "of fits that tell V_T"],
        rows=rows,
    )


def _retest_table(repeats: dict[str, dict[str, Any]]) -> Table:
    methods, regions = list(repeats), list(next(iter(repeats.values())))
    rows = [
        [region]
        + [
            f"{one['V_T']:.2f}, {one['difference']:.0f} %, {one['icc']:.2f}, {one['people']}"
            for one in (repeats[method][region] for method in methods)
        ]
        for region in regions
    ]
    return Table(
        title="V_T in mL/cm3; mean |difference| of test and retest; ICC(3,1); people",
        columns=["region", *methods],
        rows=rows,
    )


def _notes(scans: Sequence[Scan]) -> list[str]:
    people, frames = len({scan.person for scan in scans}), scans[0].frames.duration_T
    return [
        f"{len(scans)} scans with [11C]PBR28 of {people} people, test and retest, "
        f"{len(scans[0].names)} regions, {len(frames)} frames of {frames.min():g} to "
        f"{frames.max():g} s, arterial blood: kinfitr's data-raw (G. J. Matheson, MIT licence; "
        "Collste et al. 2016, Matheson et al. 2017).",
        "No delay between blood and tissue is fitted, genotypes are not told apart; the weights "
        f"are the file's; Logan from {LOGAN_FROM:g} min on.",
        f"scipy: least_squares from {len(STARTS)} starts, the best end; Logan: linregress through "
        f"a plot whose input is integrated in steps of {FINE_S:g} s.",
        "Exponent: least squares on the logarithm of squared residuals of the two-tissue fit, an "
        "intercept for each curve; 95 % bootstrap interval over scans.",
    ]
