"""The decision: candidate and champion separate the same subjects and are compared in pairs.

A subject counts once: what it shows at several noise levels is averaged, since it is the same
anatomy each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from dtsinn.core.errors import RunError
from dtsinn.evaluation.metrics import Interval, bootstrap_interval, expand_confidence
from dtsinn.evaluation.novelty import novelty
from dtsinn.evaluation.score import SubjectScore
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.registry.gate import checks
from dtsinn.registry.gate.cells import GateCell
from dtsinn.registry.gate.checks import SubjectMeans
from dtsinn.registry.gate.comparison import CellScores, Comparison, LoadedPackage
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.gate.report import CellResult, Check, GateReport


def gate(
    comparison: Comparison,
    champion: LoadedPackage,
    config: GateConfig,
    *,
    run_known: bool = True,
) -> GateReport:
    """Compare a candidate with the champion.

    Args:
        comparison: The candidate and the subjects.
        champion: The package that holds the place.
        config: Limits.
        run_known: The registry still has the run that made the candidate.

    Raises:
        StoreError: A store is damaged.
        RunError: The champion gives no finite answer.
    """
    candidate, cells = comparison.candidate, comparison.cells.cells
    info = candidate.separator.info
    found = [
        checks.check_files(candidate),
        checks.check_lineage(info, run_known),
        checks.check_pair_and_frames(info, cells),
        checks.check_champion(champion, cells),
    ]
    sound = all(check.passed for check in found)
    found.append(checks.check_evidence(comparison.cells, config))
    report = GateReport(
        verdict="refused",
        candidate=candidate.ref,
        against=champion.ref,
        checks=tuple(found),
    )
    if not sound or not cells:
        return report
    try:
        scores = comparison.candidate_scores()
    except RunError as error:
        failed = Check(name="answers", value=error.what, limit="finite numbers", passed=False)
        return replace(report, checks=(*found, failed))
    opponents = comparison.opponent_scores(champion)
    report = compare(report, cells, scores, opponents, config)
    results = tuple(
        replace(result, novelty=novelty(info, cell.store.header))
        for result, cell in zip(report.cells, cells, strict=True)
    )
    report = replace(report, cells=results)
    if report.difference is None:
        return report
    found = [
        *report.checks,
        *_check_readouts(comparison, champion, scores, opponents, config),
        checks.check_round_trip(comparison, config),
        checks.check_onnx_parity(comparison, config),
    ]
    passed = all(check.passed for check in found)
    return replace(report, verdict="passed" if passed else "refused", checks=tuple(found))


def _check_readouts(
    comparison: Comparison,
    champion: LoadedPackage,
    candidate: CellScores,
    opponent: CellScores,
    config: GateConfig,
) -> list[Check]:
    """Kinetics and conservation where they are judged, each check with its own verdict.

    What is lost is counted from the champion and from the linear map, too: champions could drift
    away from it by steps that are each small enough.
    """
    judged = next((cell for cell in comparison.cells.cells if cell.kinetic), None)
    if judged is None:
        why = f"no subjects at noise {config.kinetic_noise} decide"
        return [
            *checks.check_kinetics(None, {}, config, why),
            *checks.check_conservation(None, config, why),
        ]
    own = comparison.kinetics(judged, candidate)
    others = {"the champion": comparison.kinetics(judged, opponent)}
    if not isinstance(champion.separator.network, LinearNetwork):
        others["the linear map"] = comparison.floor_kinetics(judged)
    return [*checks.check_kinetics(own, others, config), *checks.check_conservation(own, config)]


def compare(
    report: GateReport,
    cells: Sequence[GateCell],
    candidate: CellScores,
    opponent: CellScores,
    config: GateConfig,
) -> GateReport:
    """Add to a report what the scores of candidate and opponent say.

    Args:
        report: What is known by then.
        cells: Where both were scored.
        candidate: Scores of the candidate.
        opponent: Scores of the opponent, on the same subjects in the same order.
        config: Limits.
    """
    per_cell = tuple(_compare_in(cell, candidate, opponent, config) for cell in cells)
    deciding = [cell for cell in cells if cell.decides]
    of_candidate, of_opponent = (
        _mean_by_subject(deciding, candidate),
        _mean_by_subject(deciding, opponent),
    )
    pairs = [(of_candidate[subject], of_opponent[subject]) for subject in of_candidate]
    if not pairs:
        return replace(report, cells=per_cell)
    difference = _interval([a.mean_psnr - b.mean_psnr for a, b in pairs], config)
    found = [
        *report.checks,
        checks.check_gain(difference),
        checks.check_worst_cell(per_cell, config),
    ]
    for place, name in enumerate(deciding[0].store.header.tracers):
        found.append(checks.check_tracer(name, place, pairs, config))
    found += checks.check_regions(pairs, config)
    return replace(
        report,
        checks=tuple(found),
        cells=per_cell,
        difference=difference,
        psnr=_interval([means.mean_psnr for means, _ in pairs], config),
        per_subject={
            name: (a.mean_psnr, b.mean_psnr)
            for name, (a, b) in zip(of_candidate, pairs, strict=True)
        },
    )


def _compare_in(
    cell: GateCell, candidate: CellScores, opponent: CellScores, config: GateConfig
) -> CellResult:
    pairs = list(zip(candidate[cell.key], opponent[cell.key], strict=True))
    return CellResult(
        key=cell.key,
        decides=cell.decides,
        store_digest=cell.store.header.digest,
        subjects=len(pairs),
        candidate=fmean(a.mean_psnr for a, _ in pairs),
        opponent=fmean(b.mean_psnr for _, b in pairs),
        difference=_interval([a.mean_psnr - b.mean_psnr for a, b in pairs], config),
    )


def _mean_by_subject(cells: Sequence[GateCell], scores: CellScores) -> dict[str, SubjectMeans]:
    """Average over its cells what each subject has shown."""
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
        psnr=(fmean(score.psnr[0] for score in scores), fmean(score.psnr[1] for score in scores)),
        regional_bias={name: fmean(found) for name, found in biases.items()},
    )


def _interval(values: Sequence[float], config: GateConfig) -> Interval:
    """Bootstrap the mean over subjects, as wide as so few of them ask for."""
    confidence = expand_confidence(config.confidence, len(values))
    return bootstrap_interval(
        values, seed=config.seed, resamples=config.resamples, confidence=confidence
    )
