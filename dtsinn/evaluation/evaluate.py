"""Evaluating separators over a grid of cells: in pairs, against baselines and the floor.

The floor is the linear map (:mod:`dtsinn.evaluation.floor`); halving is a baseline.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

from dtsinn.core.atomic import replace_file
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION
from dtsinn.core.paths import is_url
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.version import code_version, source_digest
from dtsinn.core.workspace import Workspace
from dtsinn.data.header import USUAL
from dtsinn.data.store import Store, StoreHeader, open_store
from dtsinn.deploy.info import info_text
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.cell_record import cell_text, read_cell
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
from dtsinn.evaluation.workers import Share, run_here
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.method import SeparateSubject, UntrainedMethod
from dtsinn.simulation.single_tracer import RescanError, single_tracer_scans

Separators = Sequence[tuple[str, Separator]]
Series = tuple[tuple[SubjectScore, ...], Summary]
"""Scores of all subjects of a cell, and what they say together."""
STORE = "store"
"""Key of the cell of the user's own store."""
RESULT = "result"
"""Last word of the name of a file that keeps a cell's result."""


def evaluate(
    separators: Separators,
    *,
    suite: Suite | None,
    store: Store | None,
    workspace: Workspace,
    out: Path,
    baselines: Sequence[UntrainedMethod] = (),
    share: Share = run_here,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score separators and write the folder ``out`` (:mod:`dtsinn.evaluation.record`).

    A cell that was scored before, with the same models, data and code, is read from the workspace.
    So an evaluation that was killed goes on with the next cell.

    Args:
        separators: Names and separators; the first is the one that the report is about.
        suite: The grid of simulated cells, or None.
        store: A store whose ``test`` subjects make one more cell, or None.
        workspace: Where stores, floors and results of cells are kept.
        out: Folder of the report; an earlier evaluation there is replaced.
        baselines: Rivals without training, each one more row of every cell that it fits.
        share: Who scores the cells that are not known yet: this process, several, or a cluster.
        progress: Called with simulations, scored cells and the report.

    Raises:
        InputError: Nothing to evaluate, a name that stands twice, or ``out`` holds other files.
        RunError: A separator's answer is not finite, or a worker died.
    """
    # Here, as they draw: matplotlib is nothing for who only scores.
    from dtsinn.evaluation.gallery import draw_gallery
    from dtsinn.evaluation.record import check_out, write_evaluation

    check_out(out)
    separators = _name_separators(separators, baselines)
    if suite is None and store is None:
        raise InputError("nothing to evaluate on", wanted="a suite or a store")
    cells = [] if suite is None else cells_of(suite, separators[0][1].info, workspace)
    field = Field(
        separators=tuple(separators),
        baselines=tuple(baselines),
        workspace=Workspace(workspace.root.resolve()),
    )
    tasks = [] if store is None else [_task_of_store(field, store)]
    tasks += [_task_of_cell(field, cell) for cell in cells]
    results = _score_all(field, tasks, share, progress)
    evaluation = Evaluation(
        suite=suite.name if suite is not None else "",
        description=suite.description if suite is not None else "",
        split=SPLIT,
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
    progress("report", 0, 1)
    scored = [task for task, found in zip(tasks, results, strict=True) if found.applicable]
    pictures = draw_gallery(evaluation, dict(separators), _Stores(workspace, scored))
    write_evaluation(evaluation, pictures, {task.key: task.header for task in scored}, out)
    progress("report", 1, 1)
    return evaluation


@dataclass(frozen=True, kw_only=True)
class Field:
    """Who is scored in every cell; it travels to a worker once."""

    separators: tuple[tuple[str, Separator], ...]
    baselines: tuple[UntrainedMethod, ...]
    workspace: Workspace
    """Its root is absolute, as the path of a store."""

    @functools.cached_property
    def digest(self) -> str:
        """Digest of all that decides a cell's result beside its subjects."""
        total = hashlib.sha256(f"{EVALUATION.mark} {source_digest()}".encode())
        for name, separator in self.separators:
            total.update(f"{name} {separator.digest} {info_text(separator.info)}".encode())
            if separator.floor is not None:
                weights = separator.floor.state_dict().items()
                total.update(b"".join(key.encode() + w.numpy().tobytes() for key, w in weights))
        for baseline in self.baselines:
            settings = json.dumps(dict(baseline.settings), sort_keys=True)
            total.update(f"{baseline.title} {settings}".encode())
        return total.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell that is to be scored."""

    key: str
    header: StoreHeader
    """Of its store, or of what that will be."""
    reasons: Mapping[str, str]
    """Why each separator cannot be scored; empty where it can."""
    cell: Cell | None = None
    """None is a store of the user's, at ``path``."""
    path: str = ""
    """Absolute, or a URL: a worker of a cluster runs in a folder of its own."""
    conditions: str = ""
    """What is varied, in words."""

    @property
    def applies(self) -> bool:
        """Whether any separator is scored."""
        return not all(self.reasons.values())

    def open(self, workspace: Workspace, progress: Progress, workers: int | None = None) -> Store:
        """The store; a cell's is simulated where it is not there, by so many processes."""
        if self.cell is None:
            return open_store(self.path, need_truth=True)
        return cell_store(self.cell, workspace, progress, workers)

    def result_file(self, field: Field) -> Path:
        """Where its result is kept."""
        data = self.header.digest if self.cell is None else self.cell.digest
        made_of = f"{field.digest} {self.key} {data} {self.conditions}"
        name = hashlib.sha256(made_of.encode()).hexdigest()[:24]
        return field.workspace.suites / f"{name}-{RESULT}.json"


class _Stores(Mapping[str, Store]):
    """The stores behind scored cells by key, opened when one is looked at."""

    def __init__(self, workspace: Workspace, tasks: Sequence[Task]) -> None:
        self._workspace, self._tasks = workspace, {task.key: task for task in tasks}

    def __getitem__(self, key: str) -> Store:
        return self._tasks[key].open(self._workspace, no_progress)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def score_task(
    field: Field, task: Task, progress: Progress = no_progress, workers: int | None = 1
) -> CellResult:
    """Score one cell and keep the result.

    Args:
        field: Who is scored.
        task: The cell.
        progress: Told of simulations.
        workers: Processes that simulate, where that is to be done; None is one per core.
    """
    if not task.applies:
        return _score_cell(field, task, None, None)
    store = task.open(field.workspace, progress, workers)
    fitting = [one for name, one in field.separators if not task.reasons[name]]
    floor = find_floor(fitting, task.cell, store, field.workspace, progress, workers)
    found = _score_cell(field, task, store, floor)
    if task.cell is not None or field.workspace.root.exists():  # none is made for a package's sake
        path = task.result_file(field)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, cell_text(found))
    return found


def _score_all(
    field: Field, tasks: Sequence[Task], share: Share, progress: Progress
) -> list[CellResult]:
    """Results in the order of the tasks: what is known, then what ``share`` finds out."""
    results: dict[int, CellResult] = {}
    for number, task in enumerate(tasks):
        known = read_cell(task.result_file(field))
        if known is not None:
            results[number] = known
    pending = [number for number in range(len(tasks)) if number not in results]
    progress("score", len(results), len(tasks))
    for place, found in share(score_task, field, [tasks[number] for number in pending], progress):
        results[pending[place]] = found
        progress("score", len(results), len(tasks))
    return [results[number] for number in range(len(tasks))]


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


def _task_of_store(field: Field, store: Store) -> Task:
    reasons = _reasons(field.separators, store.header)
    if not store.header.has_truth:
        reasons = dict.fromkeys(reasons, "the store has no true tracers")
    elif store.subject_count(SPLIT) == 0:
        reasons = dict.fromkeys(reasons, f"the store has no subject in split {SPLIT!r}")
    conditions = "" if store.header.conditions == USUAL else store.header.conditions
    path = store.header.path
    return Task(
        key=STORE,
        header=store.header,
        reasons=reasons,
        path=path if is_url(path) else str(Path(path).resolve()),
        conditions=conditions,
    )


def _task_of_cell(field: Field, cell: Cell) -> Task:
    reasons = _reasons(field.separators, cell.planned)
    if cell.reason:
        reasons = dict.fromkeys(reasons, cell.reason)
    return Task(
        key=cell.key, header=cell.planned, reasons=reasons, cell=cell, conditions=cell.varied
    )


def _score_cell(field: Field, task: Task, store: Store | None, floor: Floor | None) -> CellResult:
    """Score whoever fits, the baselines and the floor, on the same subjects."""
    separators, baselines, reasons = field.separators, field.baselines, task.reasons
    header = task.header if store is None else store.header
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
        scans = single_tracer_scans(store)
        if isinstance(scans, str):
            alone = scans
        else:
            ways[SINGLE_TRACER] = scans
        scores, failed = _scores(ways, store, SPLIT)
        alone = failed.get(SINGLE_TRACER, alone)
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
        key=task.key,
        source="store" if task.cell is None else "simulated",
        tracers=header.tracers,
        protocol=header.protocol.name,
        noise=header.noise,
        phantom=header.phantom,
        population=header.population,
        conditions=task.conditions,
        store_digest=header.digest,
        models=tuple(models),
        baselines=tuple(rivals),
        floor=base,
        single_tracer=_model_scores(SINGLE_TRACER, alone, scores) if scores else None,
        differences=tuple(compare(*pair) for pair in pairs),
    )


def _scores(
    ways: Mapping[str, SeparateSubject], store: Store, split: str
) -> tuple[dict[str, Series], dict[str, str]]:
    """Scores of each way to separate, and why one has none; every subject is read once."""
    scores: dict[str, list[SubjectScore]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    header, meter = store.header, SubjectMeter.of(store)
    for samples in store.subjects(split):
        for name in [one for one in ways if one not in failed]:
            try:
                answer = ways[name](samples)
            except RescanError as error:
                failed[name] = f"{error.what}: {error.got}"
            else:
                scores[name].append(score_subject(samples, answer, header, meter))
    found = {
        name: (tuple(of_way), summarise(of_way, header.protocol, meter.lacking))
        for name, of_way in scores.items()
        if of_way and name not in failed
    }
    return found, failed


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
