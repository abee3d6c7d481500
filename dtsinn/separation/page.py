"""The report of a separated scan: the verdict first, then what can be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from dtsinn.core.display import value_text
from dtsinn.core.protocol import Protocol
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.importers.frames import Frames
from dtsinn.importers.mixture_frames import frames_text
from dtsinn.kinetics.curves import FEWEST_PIXELS
from dtsinn.plots.page import render_page
from dtsinn.plots.style import png
from dtsinn.separation.calibration import Calibration
from dtsinn.separation.figures import draw_curves, draw_residuals, draw_slice
from dtsinn.separation.model import Model
from dtsinn.separation.regions import Rois
from dtsinn.separation.run import Totals
from dtsinn.separation.scan import Mixture
from dtsinn.separation.tables import TracerCurves
from dtsinn.separation.verdict import Check, Verdict

FloatArray = npt.NDArray[np.floating[Any]]

TEMPLATE = "separation/report.html.j2"


def render(
    *,
    mixture: Mixture,
    model: Model,
    verdict: Verdict,
    protocol: Protocol,
    totals: Totals,
    rois: Rois,
    curves: Sequence[TracerCurves],
    images_3TYX: FloatArray,
    body_YX: npt.NDArray[np.bool_],
    factor_KT: FloatArray,
    calibration: Calibration | str,
    shown: str,
) -> str:
    """The page as HTML text.

    Args:
        mixture: The scan.
        model: What separated it.
        verdict: On the scan.
        protocol: Frames of the answer, with the scan's own injections.
        totals: Of the answer.
        rois: In which curves were read.
        curves: Of both tracers.
        images_3TYX: Mixture and tracers of one slice, kBq/mL.
        body_YX: Its body.
        factor_KT: Decay correction of the tracers, for their images.
        calibration: Calibration subjects, or why there are none.
        shown: Which slice that is.
    """
    facts = model.facts
    pair = [name.upper() for name in facts.tracers]
    minute_T = (np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2) / 60
    regions = [rois.name(int(label)) for label in totals.regions_R]
    largest = np.argsort(-totals.voxels_R, kind="stable")
    names = [regions[r] for r in largest]
    y, x = mixture.scan.voxel_size[1:]
    drawn = [("mixture", names, minute_T, totals.mixture_RT[largest])]
    drawn += [
        (
            f"{own.name.upper()}, decay-corrected",
            names,
            own.frames.middle_T / 60,
            own.curve_RT[largest],
        )
        for own in curves
        if own.frames is not None
    ]
    total_RT = np.maximum(totals.mixture_RT, np.finfo(np.float32).tiny)
    percent_RT = 100 * (totals.tracers_KRT.sum(axis=0) / total_RT - 1)
    marks = "patient's left at the left" if mixture.space.placed else "as the array has it"
    text = [_verdict_text(verdict)]
    if verdict.accepted:
        text.append(f"Accepted all the same: {verdict.accepted}.")
    return render_page(
        TEMPLATE,
        title=f"{pair[0]} and {pair[1]}",
        lead=f"{mixture.scan.size[0]} slices of {mixture.scan.size[1]} x {mixture.scan.size[2]}, "
        f"{protocol.frames} frames, from a scan in {mixture.source}. For research: no medical "
        "device, and no basis for a diagnosis.",
        inside=verdict.inside,
        verdict=text,
        checks=[_check_row(check) for check in verdict.checks],
        images=png(
            draw_slice(
                images_3TYX,
                body_YX,
                ["mixture", *pair],
                np.stack([np.ones(protocol.frames), *factor_KT]),
                protocol,
                y / x,
            )
        ),
        images_caption=f"{shown}, {marks}; the tracers decay-corrected to their injections.",
        curves=png(draw_curves(drawn, "kBq/mL")),
        curves_caption="Means of the largest regions. Minutes of the mixture are from the start of "
        "the scan, those of a tracer from its injection.",
        residuals=png(draw_residuals(percent_RT[largest], names, protocol, facts.tracers)),
        kinetics=[
            [
                own.name.upper(),
                region,
                quantity,
                _value_text(own, quantity, region, value),
                QUANTITY_UNITS[quantity],
            ]
            for own in curves
            for quantity, values in own.values.items()
            for region, value in values.items()
        ],
        lacking=[f"{own.name.upper()}: {own.lacking}." for own in curves if own.lacking]
        + [_intervals_said(calibration, verdict)]
        + ([f"Regions under {FEWEST_PIXELS} voxels are left out."] if rois.given else []),
        beside=_beside(mixture, model, protocol),
        model=[
            ("model", model.name),
            ("kind", model.kind),
            ("digest", model.digest),
            ("run", model.facts.lineage.run),
            ("store", model.facts.lineage.store_path),
            ("code", model.facts.lineage.code_version),
            ("calibration", calibration if isinstance(calibration, str) else calibration.source),
        ],
    )


def _value_text(own: TracerCurves, quantity: str, region: str, value: float) -> str | Markup:
    """A value, and its interval below it."""
    bounds = own.bounds.get(quantity, {}).get(region)
    if bounds is None:
        return f"{value:.4g}"
    interval = f"{bounds[0]:.4g} to {bounds[1]:.4g}"
    return Markup('{} <span class="range">{}</span>').format(f"{value:.4g}", interval)


def _verdict_text(verdict: Verdict) -> str:
    """What failed; else what could not be asked."""
    if not verdict.inside:
        return f"{verdict.text[:1].upper()}{verdict.text[1:]}."
    untold = [check.name for check in verdict.checks if check.outcome == "not told"]
    return "No check failed." + (f" Not told: {', '.join(untold)}." if untold else "")


def _intervals_said(calibration: Calibration | str, verdict: Verdict) -> str:
    if isinstance(calibration, str):
        return f"No intervals: there are no calibration subjects ({calibration})."
    if not verdict.inside:
        return "No intervals: the scan is outside of what they were calibrated on."
    return (
        f"Intervals of 90 % by split conformal prediction, from {calibration.source}: they hold "
        "for scans of that population and for regions like those of its subjects."
    )


def _check_row(check: Check) -> list[str | Markup]:
    """Name, outcome, what was found, the limit in the same unit, and where it comes from."""
    found = check.words if check.value is None else f"{check.value:.3g} {check.unit}"
    limit = "" if check.limit is None else f"{check.limit:.3g}\u00a0{check.unit.partition(' ')[0]}"
    basis = check.basis if check.limit is not None else ""
    failed = Markup('<span class="bad">failed</span>')
    return [
        check.name,
        failed if check.outcome == "failed" else check.outcome,
        found,
        limit,
        basis,
    ]


def _beside(mixture: Mixture, model: Model, protocol: Protocol) -> list[list[str]]:
    """What the scan is, and what the model was made for and trained on."""
    facts, scan = model.facts, mixture.scan
    own = Frames(start=scan.frame_start, duration=scan.frame_duration)
    wanted = Frames(start=facts.frame_start, duration=facts.frame_duration)
    trained = facts.lineage.trained_on
    measured = "not told" if mixture.source == "store" else "a measured scan"

    def told(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(filter(None, values))) or "not recorded"

    def times(values: Sequence[float]) -> str:
        return " and ".join(f"{value_text(round(time, 3), 6)} s" for time in values)

    return [
        ["tracers", " + ".join(mixture.tracers) or "not told", " + ".join(facts.tracers)],
        ["frames", frames_text(own), frames_text(wanted)],
        [
            "injections",
            times(protocol.injection_time) if mixture.injections else "not told",
            times(facts.injection_time),
        ],
        ["half-lives", times(mixture.half_lives) or "not told", times(facts.half_life)],
        [
            "voxels",
            " x ".join(f"{side:.3g}" for side in scan.voxel_size[::-1]) + " mm",
            "not recorded",
        ],
        ["phantom", measured, told([one.phantom for one in trained])],
        ["noise", measured, told([one.noise for one in trained])],
        ["protocols", "", told([one.protocol for one in trained])],
    ]
