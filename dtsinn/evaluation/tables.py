"""The tables of an evaluation's report: plain cells, or HTML where a number has its interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from markupsafe import Markup

from dtsinn.core.display import subject_text, value_text
from dtsinn.evaluation.findings import CellFindings, find_failures
from dtsinn.evaluation.limits import CONSERVATION, KINETIC_BIAS, WORST_REGION
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.results import FLOOR, CellResult, Difference, Evaluation, ModelScores

MINUS, NBSP = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"
MOST_FAILURES = 12
"""Rows of the table of failures."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a page."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Markup, ...], ...]
    begins: tuple[bool, ...]
    """Of each row whether it begins a group."""


class _Rows:
    """Rows in groups: what all rows of a group say stands in the first one only."""

    def __init__(self, *head: str) -> None:
        self._head = head
        self._rows: list[tuple[str | Markup, ...]] = []
        self._begins: list[bool] = []
        self._group = ""

    def add(self, group: str, *cells: str | Markup) -> None:
        """Add a row of a group."""
        begins = group != self._group
        self._rows.append((group if begins else "", *cells))
        self._begins.append(begins)
        self._group = group

    def table(self) -> Table:
        """All of them."""
        return Table(head=self._head, rows=tuple(self._rows), begins=tuple(self._begins))


def tabulate_failures(evaluation: Evaluation) -> Table:
    """The cells in which something is wrong, the worst first; what is wrong is marked.

    At most :data:`MOST_FAILURES`; the grid shows the others.
    """
    several = len(evaluation.models) > 1
    rows = _Rows(
        "Cell", *["Model"] * several, "PSNR over linear, dB",
        "Kinetic error over linear's, %-points",
        f"kinetic_bias, limit {KINETIC_BIAS.text}", f"Worst region, limit {WORST_REGION.text}",
        "Sum of the answers", "n",
    )  # fmt: skip
    for found in find_failures(evaluation)[:MOST_FAILURES]:
        kinetics = None if found.scores.summary is None else found.scores.summary.kinetics
        where = "" if kinetics is None else kinetics.worst_bias_region
        rows.add(
            found.cell.title,
            *[found.scores.model] * several,
            _of_interval(None if found.gain is None else found.gain.psnr, bad=found.loses_psnr),
            _of_interval(found.kinetic_loss, bad=found.loses_kinetics),
            *(
                _marked(f"{found.measures[limit]:.1f} %", more, bad=limit in found.exceeded)
                if limit in found.measures
                else "cannot be told"
                for limit, more in ((KINETIC_BIAS, ""), (WORST_REGION, where))
            ),
            _sums(found),
            str(len(found.scores.subjects)),
        )
    return rows.table()


def tabulate_cells(evaluation: Evaluation) -> Table:
    """PSNR of every series in every cell."""
    pairs = {cell.tracers for cell in evaluation.cells}
    columns = [name.upper() for name in pairs.pop()] if len(pairs) == 1 else ["First", "Second"]
    rows = _Rows("Cell", "Model", "n", "PSNR, dB", *columns, "Over linear, dB")
    for cell in evaluation.cells:
        for scores in cell.series:
            if scores.summary is None:
                rows.add(cell.title, scores.model, "", f"not applicable: {scores.reason}")
                continue
            rows.add(
                cell.title,
                scores.model,
                str(len(scores.subjects)),
                _with_range(scores.summary.psnr),
                *map(_with_range, scores.summary.psnr_by_tracer),
                _gain(cell.difference(scores.model)),
            )
    return rows.table()


def tabulate_pairs(evaluation: Evaluation) -> Table:
    """Every pair of models, or of model and baseline, in every cell."""
    rows = _Rows("Cell", "Pair", "n", "PSNR, dB", "The first")
    for cell in evaluation.cells:
        for difference in cell.differences:
            if difference.second != FLOOR:
                rows.add(
                    cell.title,
                    f"{difference.first} {MINUS} {difference.second}",
                    str(difference.psnr.n),
                    _gain(difference),
                    difference.verdict,
                )
    return rows.table()


def tabulate_kinetics(evaluation: Evaluation) -> Table:
    """Read-outs and conserved activity of every series."""
    rows = _Rows(
        "Cell", "Model", "Read", "n", "Left out", "Error, %", "Bias, %", "SD, %",
        "Worst region, bias", "Worst subject", "Body residual, %",
    )  # fmt: skip
    for cell, scores in _scored(evaluation, beside=True):
        found = None if scores.summary is None else scores.summary.kinetics
        if found is None:
            continue
        residual = "" if found.conservation is None else f"{found.conservation.body:.1f}"
        for tracer, quantity in found.judged.items():
            one = found.readouts.get(tracer, {}).get(quantity)
            if one is None:
                continue
            worst = _number(f"{one.regions[one.worst_bias_region].bias:+z.1f}")
            rows.add(
                cell.title,
                scores.model,
                f"{quantity} of {tracer.upper()}",
                str(one.subjects),
                str(one.left_out),
                f"{one.error:.1f}",
                f"{one.bias:.1f}",
                "" if one.sd is None else f"{one.sd:.1f}",
                f"{one.worst_bias_region} {worst}",
                f"{subject_text(one.worst_subject)}, {one.worst_subject_region} "
                + _number(f"{one.worst_subject_error:+z.1f}"),
                residual,
            )
    return rows.table()


def list_untold(evaluation: Evaluation) -> list[str]:
    """What cannot be told of kinetics, or is left out, and why; where, if not everywhere."""
    reasons: dict[str, dict[str, None]] = {}
    titles = dict.fromkeys(cell.title for cell, _ in _scored(evaluation))
    for cell, scores in _scored(evaluation, beside=True):
        found = None if scores.summary is None else scores.summary.kinetics
        if found is None:
            continue
        notes = [f"{what}: {why}" for what, why in found.lacking.items()]
        for tracer, quantity in found.judged.items():
            one = found.readouts.get(tracer, {}).get(quantity)
            if one is not None and one.rare:
                what = f"{quantity} of {tracer.upper()}: {' and '.join(one.rare)} left out"
                notes.append(f"{what}, as too few subjects have it")
        for note in notes:
            reasons.setdefault(note, {})[cell.title] = None
    return [
        f"{note}." if cells == titles else f"{note} ({'; '.join(cells)})."
        for note, cells in reasons.items()
    ]


def tabulate_lesions(evaluation: Evaluation) -> Table:
    """What becomes of lesions in each tracer's late image, over the subjects that have any."""
    rows = _Rows(
        "Cell", "Model", "n", "Contrast recovery", "Contrast to noise", "That of the truth",
        "Cross-talk",
    )  # fmt: skip
    for cell, scores in _scored(evaluation, beside=True):
        found = None if scores.summary is None else scores.summary.kinetics
        lesions = {} if found is None else found.lesions
        pair = [lesions.get(tracer) for tracer in cell.tracers]
        if lesions:
            have = [s for s in scores.subjects if s.measures is not None and s.measures.lesions]
            rows.add(
                cell.title,
                scores.model,
                str(len(have)),
                _pair([one.contrast_recovery if one else None for one in pair], "z.2f"),
                _pair([one.contrast_to_noise if one else None for one in pair], "z.1f"),
                _pair([one.true_contrast_to_noise if one else None for one in pair], "z.1f"),
                _pair([one.cross_talk if one else None for one in pair], "+z.2f"),
            )
    return rows.table()


def tabulate_details(evaluation: Evaluation) -> Table:
    """What is measured of pixels beyond the PSNR; pairs are first / second tracer."""
    rows = _Rows("Cell", "Model", "n", "SSIM", "NRMSE", "Before injection, kBq/mL", "Sum residual")
    for cell, scores in _scored(evaluation):
        if scores.summary is None:
            continue
        pairs = (scores.summary.ssim, scores.summary.nrmse, scores.summary.before_injection)
        rows.add(
            cell.title,
            scores.model,
            str(len(scores.subjects)),
            *(_pair([value.mean for value in pair], ".3f") for pair in pairs),
            f"{scores.summary.sum_residual.mean:.3f}",
        )
    return rows.table()


def tabulate_novelty(evaluation: Evaluation) -> Table:
    """What of every cell each model's training had seen, and where its linear map comes from."""
    several = len(evaluation.models) > 1
    names = [field.name for field in fields(Novelty)]
    rows = _Rows("Cell", *["Model"] * several, *(name.capitalize() for name in names), "Linear map")
    for cell in evaluation.cells:
        fitted = (
            "" if cell.floor is None or not cell.floor.fitted else f"fitted {cell.floor.fitted}"
        )
        for scores in cell.models:
            seen = {} if scores.novelty is None else vars(scores.novelty)
            states = [_tag(seen.get(name, "unknown")) for name in names]
            rows.add(cell.title, *[scores.model] * several, *states, fitted)
    return rows.table()


def list_lineage(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Names and values of all that the numbers come from."""
    entries = [("evaluated with", f"dtsinn {evaluation.code_version}")]
    for model in evaluation.models:
        pair = " + ".join(model.tracers)
        entries.append((model.name, f"trained for {pair}, {model.protocol}"))
        entries.append(("digest", model.digest))
        entries += [
            (key.replace("_", " "), str(value))
            for key, value in model.lineage.items()
            if value != ""
        ]
    for baseline in evaluation.baselines:
        settings = ", ".join(
            f"{key} {value_text(value)}" for key, value in baseline.settings.items()
        )
        entries.append((baseline.name, settings))
    return entries + [
        (f"data, {cell.title}", cell.store_digest) for cell in evaluation.cells if cell.store_digest
    ]


def _scored(
    evaluation: Evaluation, *, beside: bool = False
) -> Iterator[tuple[CellResult, ModelScores]]:
    """Every cell that applies with every series, and the single-tracer scans ``beside`` them."""
    for cell in evaluation.cells:
        if cell.applicable:
            yield from ((cell, scores) for scores in (cell.every if beside else cell.series))


def _pair(values: Iterable[float | None], form: str) -> str:
    """Numbers of both tracers, in a format."""
    texts = ["none" if value is None else _number(f"{value:{form}}") for value in values]
    return f"{NBSP}/{NBSP}".join(texts)


def _sums(found: CellFindings) -> str | Markup:
    told = [limit for limit in CONSERVATION if limit in found.measures]
    over = [limit for limit in told if limit in found.exceeded]
    if not over:
        return "within limits" if told else "cannot be told"
    names = {limit: limit.label.split()[-1] for limit in over} | {CONSERVATION[-1]: "|z|"}
    first, *others = sorted(over, key=lambda limit: -found.measures[limit] / limit.most)
    text = f"{names[first]} {found.measures[first]:.3g} {first.unit}".strip()
    more = f"limit {first.text}" + "".join(f"; {names[limit]} too" for limit in others)
    return _marked(text, more, bad=True)


def _of_interval(interval: Interval | None, *, bad: bool) -> str | Markup:
    if interval is None:
        return "cannot be told"
    return _marked(_number(f"{interval.mean:+z.1f}"), bad=bad) + _range(interval, "+")


def _gain(difference: Difference | None) -> str | Markup:
    """A difference in dB; marked where the first is not better."""
    if difference is None:
        return ""
    return _of_interval(difference.psnr, bad=difference.verdict in ("loses to", "level with"))


def _with_range(interval: Interval) -> Markup:
    return _marked(_number(f"{interval.mean:.1f}")) + _range(interval)


def _range(interval: Interval, sign: str = "") -> Markup:
    return Markup(' <span class="range">{}</span>').format(_number(interval.range_text(1, sign)))


def _marked(text: str, more: str = "", *, bad: bool = False) -> Markup:
    """A text, in red where it is bad, and more about it below, in small."""
    marked = Markup('<span class="bad">{}</span>').format(text) if bad else Markup.escape(text)
    return marked + (Markup(' <span class="more">{}</span>').format(more) if more else "")


def _number(text: str) -> str:
    return text.replace("-", MINUS)


def _tag(seen: str) -> Markup:
    """A badge that says whether the training had seen something."""
    return Markup('<span class="tag{}">{}</span>').format(" new" * (seen == "new"), seen)
