"""The gate's checks, one by one: value, limit, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dtsinn.core.errors import PackageError, RunError
from dtsinn.data.store import StoreHeader
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.package import verify_package
from dtsinn.evaluation.kinetics import KineticSummary
from dtsinn.evaluation.metrics import Interval
from dtsinn.kinetics.curves import enough_subjects
from dtsinn.registry.gate.cells import GateCell, GateCells
from dtsinn.registry.gate.comparison import Comparison, LoadedPackage
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.gate.report import CellResult, Check

FRAME_TOLERANCE_s = 0.1
"""Difference of frame times up to which they are the same: scanners round to 1 ms (uncited)."""
NO_REGION = "no region is large enough in enough subjects"
Pairs = Sequence[tuple["SubjectMeans", "SubjectMeans"]]
"""Candidate and opponent on the same subject."""


@dataclass(frozen=True, kw_only=True)
class SubjectMeans:
    """What one subject has shown, averaged over the cells that decide."""

    psnr: tuple[float, float]
    """dB, per tracer."""
    regional_bias: dict[tuple[str, str], float]
    """(tracer, region) -> mean absolute bias, percent."""

    @property
    def mean_psnr(self) -> float:
        """Mean PSNR of the two tracers, dB."""
        return sum(self.psnr) / 2


def check_files(candidate: LoadedPackage) -> Check:
    """Check that the files are those of the manifest, and none of a format that runs code."""
    wanted = "all files match, none is a pickle"
    try:
        manifest = verify_package(candidate.path)
    except PackageError as error:
        return Check(name="files", value=str(error), limit=wanted, passed=False)
    kinds = sorted({Path(file.path).suffix for file in manifest.files})
    return Check(name="files", value=wanted, limit=wanted, passed=True, detail=" ".join(kinds))


def check_lineage(info: SeparatorInfo, run_known: bool) -> Check:
    """Check that run, configuration, store, code and seed are known, and the run still there."""
    wanted = ("run", "config", "store_digest", "code_version", "seed")
    missing = [name for name in wanted if getattr(info.lineage, name) in (None, "", {})]
    if not run_known:
        missing.append("a run in the registry")
    return Check(
        name="lineage",
        value=f"without {', '.join(missing)}" if missing else "complete",
        limit="complete",
        passed=not missing,
    )


def check_pair_and_frames(info: SeparatorInfo, cells: Sequence[GateCell]) -> Check:
    """Check that the subjects have the pair and the frames that the candidate was made for."""
    reasons = [reason for cell in cells if (reason := _misfit(info, cell))]
    return Check(
        name="pair and frames",
        value=reasons[0] if reasons else "fit",
        limit="fit",
        passed=not reasons,
    )


def check_champion(champion: LoadedPackage, cells: Sequence[GateCell]) -> Check:
    """Check that the champion was made for the same subjects, and can be scored on them."""
    separator = champion.separator
    reasons = [
        why
        for cell in cells
        if (why := _misfit(separator.info, cell) or separator.fits(cell.store.header))
    ]
    return Check(
        name="champion here", value=reasons[0] if reasons else "fits", limit="fits",
        passed=not reasons,
    )  # fmt: skip


def check_evidence(cells: GateCells, config: GateConfig) -> Check:
    """Check that enough subjects decide."""
    deciding = [cell for cell in cells.cells if cell.decides]
    subjects = min((cell.store.subject_count(cell.split) for cell in deciding), default=0)
    detail = ", ".join(cell.key for cell in deciding)
    if not deciding:
        detail = cells.lacking or "the store has no gate subjects, or is not there"
    return Check(
        name="evidence",
        value=f"{subjects} subjects",
        limit=f"at least {config.min_subjects}",
        passed=subjects >= config.min_subjects,
        detail=detail,
    )


def check_gain(difference: Interval) -> Check:
    """Check that the whole interval of the paired difference lies above zero."""
    return Check(
        name="better",
        value=f"{difference.mean:+z.3f} dB ({difference.range_text(3, '+')})",
        limit="an interval above 0",
        passed=difference.lies_above(0),
    )


def check_worst_cell(cells: Sequence[CellResult], config: GateConfig) -> Check:
    """Check the cell that lost most against the opponent."""
    worst = min(cells, key=lambda cell: cell.difference.mean)
    return Check(
        name="worst cell",
        value=f"{worst.difference.mean:+z.3f} dB",
        limit=f"at least {-config.cell_loss_limit:+g} dB",
        passed=worst.difference.mean >= -config.cell_loss_limit,
        detail=worst.key,
    )


def check_tracer(name: str, place: int, pairs: Pairs, config: GateConfig) -> Check:
    """Check that one tracer alone was not lost."""
    gain = fmean(a.psnr[place] - b.psnr[place] for a, b in pairs)
    return Check(
        name=f"tracer {name}",
        value=f"{gain:+z.3f} dB",
        limit=f"at least {-config.tracer_loss_limit:+g} dB",
        passed=gain >= -config.tracer_loss_limit,
    )


def check_regions(pairs: Pairs, config: GateConfig) -> list[Check]:
    """Check the region that lost most against the champion, of those that enough subjects have.

    No check where no region is known.
    """
    grown: dict[tuple[str, str], list[float]] = {}
    for candidate, opponent in pairs:
        for name in sorted(candidate.regional_bias.keys() & opponent.regional_bias.keys()):
            loss = candidate.regional_bias[name] - opponent.regional_bias[name]
            grown.setdefault(name, []).append(loss)
    enough = enough_subjects(len(pairs))
    losses = {name: fmean(found) for name, found in grown.items() if len(found) >= enough}
    if not losses:
        return []
    worst = max(losses, key=lambda name: losses[name])
    return [
        Check(
            name="regions",
            value=f"{losses[worst]:+z.2f} points of bias",
            limit=f"at most {config.region_loss_limit:+g}",
            passed=losses[worst] <= config.region_loss_limit,
            detail=f"{worst[1]}, {worst[0]}",
        )
    ]


def check_kinetics(
    candidate: KineticSummary | None,
    others: Mapping[str, KineticSummary | None],
    config: GateConfig,
    why: str = "",
) -> list[Check]:
    """Check what a clinic reads: bias, worst region, and what either lost against others.

    Args:
        candidate: What it shows at the gate's noise level; None where nothing was measured.
        others: The same of the champion and of the linear map, by what they are called.
        config: Limits.
        why: Reason for nothing being measured.
    """
    names = {"kinetic_bias": "kinetic bias", "worst_bias": "worst region"}
    limits = {"kinetic_bias": config.kinetic_bias_limit, "worst_bias": config.worst_region_limit}
    found = []
    for key, name in names.items():
        limit = f"at most {limits[key]:g} %"
        value = None if candidate is None else getattr(candidate, key)
        if candidate is None or value is None:
            reasons = candidate.lacking.items() if candidate else ()
            told = "; ".join(text for what, text in reasons if what.startswith("read-out"))
            missing = why or told or NO_REGION
            found.append(Check.without_data(name, limit, missing))
            continue
        read = ", ".join(f"{q} of {tracer}" for tracer, q in candidate.judged.items())
        detail = read if key == "kinetic_bias" else candidate.worst_bias_region
        passed = value <= limits[key]
        found.append(
            Check(name=name, value=f"{value:.1f} %", limit=limit, passed=passed, detail=detail)
        )
        for other, summary in others.items():
            before = None if summary is None else getattr(summary, key)
            if before is None:
                continue
            loss = value - before
            found.append(
                Check(
                    name=f"{name} against {other}",
                    value=f"{loss:+z.1f} points",
                    limit=f"at most {config.kinetic_loss_limit:+g}",
                    passed=loss <= config.kinetic_loss_limit,
                    detail=f"{value:.1f} % against {before:.1f} %",
                )
            )
    return found


def check_conservation(
    candidate: KineticSummary | None, config: GateConfig, why: str = ""
) -> list[Check]:
    """Check that the answers add up to what was measured; arguments as for the kinetics."""
    conserved = None if candidate is None else candidate.conservation
    found = []
    for name, key, limit, unit in (
        ("conserved, body", "body", config.body_residual_limit, " %"),
        ("conserved, tiles", "tiles", config.tile_residual_limit, " %"),
        ("conserved, regions", "regions", config.region_residual_limit, " %"),
        ("conserved, |z|", "z", config.z_limit, ""),
    ):
        value = None if conserved is None else getattr(conserved, key)
        text = f"at most {limit:g}{unit}"
        if conserved is None or value is None:
            lacking = {
                "tiles": "no body is large enough",
                "regions": NO_REGION,
                "z": f"the noise law of the mixtures is not known, or {NO_REGION}",
            }
            found.append(
                Check.without_data(name, text, why or lacking.get(key, "no frame is applicable"))
            )
            continue
        found.append(
            Check(
                name=name,
                value=f"{value:.1f}{unit}",
                limit=text,
                passed=value <= limit,
                detail=conserved.worst_region if key == "regions" else "",
            )
        )
    return found


def check_round_trip(comparison: Comparison, config: GateConfig) -> Check:
    """Check that separated tracers mix back into what was separated."""
    exact = comparison.candidate.separator.network.exact
    limit = config.round_trip_limit
    if not exact:
        return Check.without_data("round trip", limit, "this network has no inverse")
    worst = comparison.round_trip_error
    return Check(name="round trip", value=worst, limit=limit, passed=worst <= limit)


def check_onnx_parity(comparison: Comparison, config: GateConfig) -> Check:
    """Check that the ONNX graphs answer as torch does."""
    limit = config.onnx_parity_limit
    try:
        worst = comparison.onnx_error()
    except RunError as error:
        return Check(name="ONNX parity", value=error.what, limit=limit, passed=False)
    return Check(name="ONNX parity", value=worst, limit=limit, passed=worst <= limit)


def _misfit(info: SeparatorInfo, cell: GateCell) -> str:
    return describe_misfit(info, cell.store.header, cell.key)


def describe_misfit(info: SeparatorInfo, header: StoreHeader, where: str) -> str:
    """Why subjects are not of a separator's pair and frames, or nothing where they are.

    Args:
        info: The separator.
        header: Of the store that they are in.
        where: What the store is called.
    """
    there = header.protocol
    if info.tracers != header.tracers:
        return f"{where} has {', '.join(header.tracers)}, model {', '.join(info.tracers)}"
    times = (*info.frame_start, *info.frame_duration, *info.injection_time)
    others = (*there.frame_start, *there.frame_duration, *there.injection_time)
    if len(times) != len(others) or any(
        abs(one - other) > FRAME_TOLERANCE_s for one, other in zip(times, others, strict=True)
    ):
        return f"the frames of {there.name} in {where} are not those of the model"
    return ""
