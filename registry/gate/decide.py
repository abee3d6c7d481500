"""The decision: candidate and champion separate the same subjects and are compared in pairs.

Without a champion the opponent is the floor, half of the mixture for each tracer. A subject counts
once: what it shows at several noise levels is averaged, since it is the same anatomy each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from dtsinn.core.errors import RunError
from dtsinn.evaluation.metrics import Interval, bootstrap_interval, expand_confidence
from dtsinn.evaluation.novelty import novelty
from dtsinn.evaluation.score import SubjectScore
from dtsinn.registry.gate import checks
from dtsinn.registry.gate.cells import GateCell
from dtsinn.registry.gate.checks import SubjectMeans
from dtsinn.registry.gate.comparison import Bout, CellScores, Contender
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.gate.report import FLOOR, CellFound, Check, GateReport


def gate(
    bout: Bout, champion: Contender | None, config: GateConfig, *, run_known: bool = True
) -> GateReport:
    """Compare a candidate with the champion, or with the floor.

    Args:
        bout: The candidate and the subjects.
        champion: Who holds the place.
        config: Limits.
        run_known: The registry still has the run that made the candidate.

    Raises:
        StoreError: A store is damaged.
        RunError: The champion gives no finite answer.
    """
    candidate, cells = bout.candidate, bout.cells.cells
    info = candidate.separator.info
    found = [checks.files(candidate), checks.lineage(info, run_known), checks.made_for(info, cells)]
    if champion:
        found.append(checks.champion_fits(champion, cells))
    sound = all(check.passed for check in found)
    found.append(checks.evidence(bout.cells, config))
    report = GateReport(
        verdict="refused",
        candidate=candidate.ref,
        against=champion.ref if champion else FLOOR,
        checks=tuple(found),
    )
    if not sound or not cells:
        return report
    try:
        ours = bout.ours()
    except RunError as error:
        failed = Check(name="answers", value=error.what, limit="finite numbers", passed=False)
        return report.but(checks=(*found, failed))
    report = compared(report, cells, ours, bout.theirs(champion), config)
    report = report.but(
        cells=tuple(
            replace(found, novelty=novelty(info, cell.store.header))
            for found, cell in zip(report.cells, cells, strict=True)
        )
    )
    if report.difference is None:
        return report
    found = [*report.checks, checks.round_trip(bout, config), checks.onnx_parity(bout, config)]
    passed = all(check.passed for check in found)
    return report.but(verdict="passed" if passed else "refused", checks=tuple(found))


def compared(
    report: GateReport,
    cells: Sequence[GateCell],
    ours: CellScores,
    theirs: CellScores,
    config: GateConfig,
) -> GateReport:
    """The report with what the scores of candidate and opponent say.

    Args:
        report: What is known by then.
        cells: Where both were scored.
        ours: Scores of the candidate.
        theirs: Of the opponent, on the same subjects in the same order.
        config: Limits.
    """
    per_cell = tuple(_cell(cell, ours, theirs, config) for cell in cells)
    deciding = [cell for cell in cells if cell.decides]
    mine, other = _means(deciding, ours), _means(deciding, theirs)
    pairs = [(mine[subject], other[subject]) for subject in mine]
    if not pairs:
        return report.but(cells=per_cell)
    difference = _interval([a.mean_psnr - b.mean_psnr for a, b in pairs], config)
    found = [*report.checks, checks.better(difference), checks.no_cell_lost(per_cell, config)]
    for place, name in enumerate(deciding[0].store.header.tracers):
        found.append(checks.tracer(name, place, pairs, config))
    if report.against != FLOOR:
        found += checks.regions(pairs, config)
    return report.but(
        checks=tuple(found),
        cells=per_cell,
        difference=difference,
        psnr=_interval([means.mean_psnr for means in mine.values()], config),
        per_subject={name: (mine[name].mean_psnr, other[name].mean_psnr) for name in mine},
    )


def _cell(cell: GateCell, ours: CellScores, theirs: CellScores, config: GateConfig) -> CellFound:
    pairs = list(zip(ours[cell.key], theirs[cell.key], strict=True))
    return CellFound(
        key=cell.key,
        decides=cell.decides,
        store_digest=cell.store.header.digest,
        subjects=len(pairs),
        candidate=fmean(mine.mean_psnr for mine, _ in pairs),
        opponent=fmean(other.mean_psnr for _, other in pairs),
        difference=_interval([a.mean_psnr - b.mean_psnr for a, b in pairs], config),
    )


def _means(cells: Sequence[GateCell], scores: CellScores) -> dict[str, SubjectMeans]:
    """What each subject has shown, averaged over its cells."""
    by_subject: dict[str, list[SubjectScore]] = {}
    for cell in cells:
        for score in scores[cell.key]:
            by_subject.setdefault(score.subject, []).append(score)
    return {subject: _mean(found) for subject, found in by_subject.items()}


def _mean(scores: Sequence[SubjectScore]) -> SubjectMeans:
    biases: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        for tracer, regions in score.regional_bias.items():
            for region, bias in regions.items():
                biases.setdefault((tracer, region), []).append(abs(bias))
    return SubjectMeans(
        (fmean(score.psnr[0] for score in scores), fmean(score.psnr[1] for score in scores)),
        {name: fmean(found) for name, found in biases.items()},
    )


def _interval(values: Sequence[float], config: GateConfig) -> Interval:
    """Over subjects, as wide as so few of them ask for."""
    confidence = expand_confidence(config.confidence, len(values))
    return bootstrap_interval(
        values, seed=config.seed, resamples=config.resamples, confidence=confidence
    )
