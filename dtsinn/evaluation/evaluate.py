"""Evaluating separators over a grid of cells: in pairs, against baselines and the floor.

The floor is the linear map (:mod:`dtsinn.evaluation.floor`); halving is a baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.version import code_version
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, StoreHeader
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.floor import Floor, find_floor, separate_with
from dtsinn.evaluation.novelty import Novelty, novelty
from dtsinn.evaluation.results import (
    FLOOR,
    HALVES,
    SINGLE_TRACER,
    BaselineInfo,
    CellResult,
    Evaluation,
    ModelInfo,
    ModelScores,
    Summary,
    compare,
    summarise,
)
from dtsinn.evaluation.score import Separate, SubjectScore, halve, score_subject
from dtsinn.evaluation.suite import SPLIT, Cell, Suite, cell_store, cells_of
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.method import SeparateSubject, UntrainedMethod
from dtsinn.simulation.single_tracer import single_tracer_scans

Separators = Sequence[tuple[str, Separator]]
Series = tuple[tuple[SubjectScore, ...], Summary]
"""Scores of all subjects of a cell, and what they say together."""
STORE = "store"
"""Key of the cell of the user's own store."""


def evaluate(
    separators: Separators,
    *,
    suite: Suite | None,
    store: Store | None,
    workspace: Workspace,
    out: Path,
    baselines: Sequence[UntrainedMethod] = (),
    progress: Progress = no_progress,
) -> Evaluation:
    """Score separators and write the folder ``out`` (:mod:`dtsinn.evaluation.record`).

    Args:
        separators: Names and separators; the first is the one that the report is about.
        suite: The grid of simulated cells, or None.
        store: A store whose ``test`` subjects make one more cell, or None.
        workspace: Where the stores of the suite are kept.
        out: Folder of the report; an earlier evaluation there is replaced.
        baselines: Rivals without training, each one more row of every cell that it fits.
        progress: Called with simulations, scored cells and the report.

    Raises:
        InputError: Nothing to evaluate, a name that stands twice, or ``out`` holds other files.
        RunError: A separator's answer is not finite.
    """
    # Here, as they draw: matplotlib is nothing for who only scores.
    from dtsinn.evaluation.gallery import draw_gallery
    from dtsinn.evaluation.record import check_out, write_evaluation

    check_out(out)
    separators = _name_separators(separators, baselines)
    evaluation, stores = _run(separators, baselines, suite, store, workspace, SPLIT, progress)
    progress("report", 0, 1)
    pictures = draw_gallery(evaluation, dict(separators), stores)
    headers = {key: store.header for key, store in stores.items()}
    write_evaluation(evaluation, pictures, headers, out)
    progress("report", 1, 1)
    return evaluation


def run_grid(
    separators: Separators,
    *,
    suite: Suite | None,
    store: Store | None,
    workspace: Workspace,
    split: str = SPLIT,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score separators as :func:`evaluate` does, without writing a report.

    ``split`` says which subjects of ``store``: ``test``, or ``gate`` for a promotion.
    """
    return _run(_name_separators(separators, ()), (), suite, store, workspace, split, progress)[0]


def _run(
    separators: Separators,
    baselines: Sequence[UntrainedMethod],
    suite: Suite | None,
    store: Store | None,
    workspace: Workspace,
    split: str,
    progress: Progress,
) -> tuple[Evaluation, dict[str, Store]]:
    """The evaluation, and the store behind each scored cell by the cell's key."""
    if suite is None and store is None:
        raise InputError("nothing to evaluate on", wanted="a suite or a store")
    cells = cells_of(suite) if suite is not None else []
    total = len(cells) + (store is not None)
    results: list[CellResult] = []
    stores: dict[str, Store] = {}
    if store is not None:
        progress("score", 0, total)
        results.append(_store_cell(separators, baselines, store, split, workspace, progress))
        stores[STORE] = store
    for cell in cells:
        progress("score", len(results), total)
        reasons = _reasons(separators, cell.planned)
        if not all(reasons.values()):  # where no model fits there is no need to simulate
            stores[cell.key] = cell_store(cell, workspace, progress)
        header = stores[cell.key].header if cell.key in stores else cell.planned
        made = stores.get(cell.key)
        floor = _floor(separators, reasons, cell, made, workspace, progress)
        results.append(
            _score_cell(separators, baselines, reasons, cell.key, header, made, SPLIT, floor)
        )
    progress("score", total, total)
    evaluation = Evaluation(
        suite=suite.name if suite is not None else "",
        description=suite.description if suite is not None else "",
        split=split,
        models=tuple(_model_info(name, separator) for name, separator in separators),
        baselines=(
            BaselineInfo(name=HALVES, settings={}),
            *(
                BaselineInfo(name=baseline.title, settings=dict(baseline.settings))
                for baseline in baselines
            ),
        ),
        cells=tuple(results),
        code_version=code_version(),
    )
    return evaluation, stores


def _name_separators(separators: Separators, baselines: Sequence[UntrainedMethod]) -> Separators:
    """Separators by names fit for a report: of an absolute path only the last part."""
    named = [
        (Path(name).name if Path(name).is_absolute() else name, separator)
        for name, separator in separators
    ]
    names = [name for name, _ in named]
    if not names:
        raise InputError("nothing to evaluate", wanted="at least one separator")
    kept = {FLOOR, HALVES, SINGLE_TRACER, *(baseline.title for baseline in baselines)}
    if len(set(names)) != len(names) or kept & set(names):
        wanted = f"none twice, none {' or '.join(map(repr, sorted(kept)))}"
        raise InputError("names of separators", got=names, wanted=wanted)
    return named


def _store_cell(
    separators: Separators,
    baselines: Sequence[UntrainedMethod],
    store: Store,
    split: str,
    workspace: Workspace,
    progress: Progress,
) -> CellResult:
    reasons = _reasons(separators, store.header)
    if not store.header.has_truth:
        reasons = dict.fromkeys(reasons, "the store has no true tracers")
    elif store.subject_count(split) == 0:
        reasons = dict.fromkeys(reasons, f"the store has no subject in split {split!r}")
    floor = _floor(separators, reasons, None, store, workspace, progress)
    return _score_cell(separators, baselines, reasons, STORE, store.header, store, split, floor)


def _floor(
    separators: Separators,
    reasons: Mapping[str, str],
    cell: Cell | None,
    store: Store | None,
    workspace: Workspace,
    progress: Progress,
) -> Floor | None:
    """The floor of a cell; None where no separator is scored."""
    scored = [one for name, one in separators if not reasons[name]]
    if store is None or not scored:
        return None
    return find_floor(scored, cell, store, workspace, progress)


def _score_cell(
    separators: Separators,
    baselines: Sequence[UntrainedMethod],
    reasons: dict[str, str],
    key: str,
    header: StoreHeader,
    store: Store | None,
    split: str,
    floor: Floor | None,
) -> CellResult:
    """Score whoever fits, the baselines and the floor, on the same subjects."""
    lacking: dict[str, str] = {}
    scores: dict[str, Series] = {}
    base: ModelScores | None = None
    alone = ""
    if store is not None and floor is not None:
        lacking = {HALVES: ""} | {baseline.title: baseline.fits(store) for baseline in baselines}
        fitting = {name: one for name, one in separators if not reasons[name]}
        fitted = {name: one.for_protocol(store.header) for name, one in fitting.items()}
        ways = {name: _from_mixture(one.separate) for name, one in fitted.items()}
        ways |= {one.title: one.on(store) for one in baselines if not lacking[one.title]}
        ways[HALVES] = _from_mixture(halve)
        if floor.network is not None:
            ways[FLOOR] = _from_mixture(separate_with(floor.network, header))
        scans = single_tracer_scans(store, split)
        if isinstance(scans, str):
            alone = scans
        else:
            ways[SINGLE_TRACER] = scans
        scores = _scores(ways, store, split)
        base = replace(_model_scores(FLOOR, floor.reason, scores), fitted=floor.fitted)
    models = [
        _model_scores(name, reasons[name], scores, novelty(separator.info, header))
        for name, separator in separators
    ]
    rivals = [_model_scores(name, reason, scores) for name, reason in lacking.items()]
    scored = [model for model in models if model.applicable]
    known = [rival for rival in rivals if rival.applicable]
    pairs = [(one, base) for one in (*scored, *known) if base is not None and base.applicable]
    pairs += [*product(scored, known), *combinations(scored, 2)]
    return CellResult(
        key=key,
        source="store" if key == STORE else "simulated",
        tracers=header.tracers,
        protocol=header.protocol.name,
        noise=header.noise,
        phantom=header.phantom,
        store_digest=header.digest,
        models=tuple(models),
        baselines=tuple(rivals),
        floor=base,
        single_tracer=_model_scores(SINGLE_TRACER, alone, scores) if scores else None,
        differences=tuple(compare(*pair) for pair in pairs),
    )


def _scores(ways: Mapping[str, SeparateSubject], store: Store, split: str) -> dict[str, Series]:
    """Scores of each way to separate; every subject is read once."""
    scores: dict[str, list[SubjectScore]] = {name: [] for name in ways}
    header, meter = store.header, SubjectMeter.of(store)
    for samples in store.subjects(split):
        for name, separate in ways.items():
            scores[name].append(score_subject(samples, separate(samples), header, meter))
    return {
        name: (tuple(found), summarise(found, header.protocol, meter.lacking))
        for name, found in scores.items()
        if found
    }


def _from_mixture(separate: Separate) -> SeparateSubject:
    return lambda samples: separate(samples.mixture_NTYX)


def _model_scores(
    name: str,
    reason: str,
    scores: Mapping[str, Series],
    novel: Novelty | None = None,
) -> ModelScores:
    subjects, summary = scores.get(name, ((), None))
    return ModelScores(model=name, reason=reason, novelty=novel, subjects=subjects, summary=summary)


def _reasons(separators: Separators, header: StoreHeader) -> dict[str, str]:
    """Why each separator cannot be scored on such a store; empty where it can."""
    return {name: separator.fits(header) for name, separator in separators}


def _model_info(name: str, separator: Separator) -> ModelInfo:
    info, lineage = separator.info, separator.info.lineage
    return ModelInfo(
        name=name,
        digest=separator.digest,
        tracers=info.tracers,
        protocol=info.protocol,
        lineage={
            "run": lineage.run,
            "search": lineage.search,
            "trial": lineage.trial,
            "steps": lineage.steps,
            "seed": lineage.seed,
            "store_digest": lineage.store_digest,
            "code_version": lineage.code_version,
        },
    )
