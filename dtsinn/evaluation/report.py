"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import combinations, product

from markupsafe import Markup

from dtsinn.core.display import value_text
from dtsinn.evaluation.gallery import Picture
from dtsinn.evaluation.metrics import FEWEST, Interval
from dtsinn.evaluation.results import FLOOR, CellResult, Difference, Evaluation, ModelScores
from dtsinn.networks.build import baselines
from dtsinn.plots.page import Card, parts, render_page

DEFINITIONS = {
    "psnr": "Peak signal-to-noise ratio of a subject and tracer in dB: 10 log10(peak² / MSE). The "
    "MSE is taken over body pixels, all slices of the subject and all frames that start at or "
    "after that tracer's injection; the peak is the maximum of the noise-free tracer over the "
    "same set. A cell gives the mean of the two tracers, then over subjects. Higher is better.",
    "body": "Pixels with a region label. Without labels: pixels where the duration-weighted mean "
    "of the mixture exceeds 5 % of its spatial maximum.",
    "ssim": "Structural similarity (Gaussian window of 1.5 pixels, K1 0.01, K2 0.03), slice by "
    "slice and frame by frame, with the peak of the PSNR as data range; mean over the same set "
    "as the PSNR. 1 is best.",
    "nrmse": "RMS error over the RMS of the true tracer, same set as the PSNR; a fraction.",
    "regional_bias": "Bias in percent of the area under a region's time-activity curve (mean over "
    "the region in all slices, not decay-corrected), from the tracer's injection to the end.",
    "before_injection": "RMS error in kBq/mL over body pixels in frames that start before the "
    "tracer's injection, where the truth is zero; 0 where there is no such frame.",
    "sum_residual": "RMS of (sum of the two answers - noisy mixture) over the RMS of the mixture, "
    "body pixels, all frames; a fraction. A network that removes noise has a residual.",
    "linear map": "The floor: ridge regression of both tracers' frames on the mixture's frames "
    "in a neighbourhood of 5 x 5 pixels, solved in closed form and applied as one convolution. "
    "'Fitted with the model': to the model's own training store, wherever pair and protocol are "
    "those of the training. 'Fitted for this cell': to simulated subjects of the cell's own pair, "
    "protocol, phantom and noise that nothing else uses, or to the train subjects of the store.",
    "over linear": "Mean PSNR minus that of the linear map on the same subjects, dB.",
    "halved mixture": "A baseline: each tracer is taken to be half of the mixture. No training.",
    "kinetic_error": "What a clinic reads from each region, fitted alike from the answer and from "
    "the truth (below): mean over subjects, then over the tracer's read-out regions, of |answer / "
    "truth - 1|, percent; then over the tracers. 'Worst' is the largest region.",
    "kinetic_bias": "Mean over regions of |mean over subjects of (answer / truth - 1)|, percent.",
    "V_T": "Volume of distribution, mL/cm3: slope of Logan's plot (Logan et al. 1990).",
    "Ki": "Net influx rate, mL/cm3/min: slope of Patlak's plot (Patlak et al. 1983).",
    "K1": "Rate of uptake from plasma, mL/cm3/min, by a compartment model; only where frames of at "
    "most 30 s cover the first two minutes.",
    "DVR": "Distribution volume ratio: Logan's plot with a reference region (Logan et al. 1996).",
    "SUVR": "Mean uptake over that of the reference region, from the read-out's start to the end.",
    "single-tracer scan": "The same tracer, dose, frames and noise law, scanned alone: what a "
    "separation is held against. Simulated from the store's own request.",
    "conservation": "Sum of the answers minus the mixture, over the mixture, percent: of the body, "
    "of tiles of at least 2,000 body pixels, and per region against the noise-free sum, as a mean "
    "over subjects. Frames that contain an injection are not applicable.",
    "z": "A region's residual against the measured mixture over the standard deviation that the "
    "noise law predicts; 95 % of |z| are below 1.96 where nothing but noise is missed.",
    "n": "The number of subjects.",
    "interval": "95 % percentile bootstrap interval of the mean over subjects, 2000 resamples. "
    f"None is given of fewer than {FEWEST} subjects; with few it is too narrow.",
    "difference": "Mean PSNR of one series minus that of another on the same subjects, in pairs. "
    "'Beats' and 'loses to' mean that its interval leaves zero out; else 'level with'; 'no "
    "verdict' where there is no interval.",
    "novelty": "What of a cell the model's training had seen. The pair of tracers, the protocol "
    "(times of frames and injections), the phantom and the noise (model and level) are each 'as "
    "trained', 'new', or 'unknown' where the store or the package does not say. What is new asks "
    "how far the model carries.",
    "trained on": "Pair and protocol are as trained, and neither phantom nor noise is new.",
    "subject": "Simulated subjects are counted from 1 for people; files name them by their id, "
    "whose number is one less: subject 17 is study-0-0016.",
}


def definitions() -> dict[str, str]:
    """What stands in a report, in sentences."""
    return DEFINITIONS | {baseline.title: baseline.description for baseline in baselines()}


"""What every number means, in words; ``evaluation.json`` carries them too."""
VERDICTS = {"beats": "beats", "level with": "is level with", "loses to": "loses to"}
NO_VERDICT = "no verdict"
"""Verdicts as the verb of a sentence."""


def render(evaluation: Evaluation, pictures: Sequence[Picture]) -> str:
    """The report as HTML text.

    Args:
        evaluation: What was found.
        pictures: Its gallery.
    """
    names = " and ".join(model.name for model in evaluation.models)
    suite = f"Suite {evaluation.suite}: {evaluation.description}" if evaluation.suite else ""
    body = [
        parts().header("dtsinn evaluation", names, suite or "Subjects of a store"),
        _verdict(evaluation),
        _headline(evaluation),
        _section("Every cell", _cell_table(evaluation) + _figures(pictures, "")),
        _pair_table(evaluation),
        _section("What a clinic reads", _kinetic_table(evaluation)),
        _section("Beyond PSNR", _detail_table(evaluation)),
        *(_cell_section(cell, pictures) for cell in evaluation.cells if cell.applicable),
        _section(
            "What the numbers mean",
            parts().definitions(
                (name.replace("_", " "), text) for name, text in definitions().items()
            ),
        ),
        _section("Where it comes from", _lineage(evaluation)),
    ]
    title = f"{names}: evaluation"
    return render_page("plots/page.html.j2", title=title, body=_html("".join(body)))


def _verdict(evaluation: Evaluation) -> str:
    """What holds, in words; where a model does not beat the floor, it stands here."""
    paragraphs = []
    for model in evaluation.models:
        against = [d for c in evaluation.cells if (d := c.difference(model.name)) is not None]
        absent = len(evaluation.cells) - len(against)
        won = sum(difference.verdict == "beats" for difference in against)
        untold = sum(difference.verdict == NO_VERDICT for difference in against)
        told = len(against) - untold
        text = f"<b>{escape(model.name)}</b> beats the {FLOOR} in {won} of {told} cells"
        text += f"; {untold} without a verdict, as they have fewer than {FEWEST} subjects" * (
            untold > 0
        )
        text += f"; {absent} not applicable." if absent else "."
        paragraphs.append(f"<p>{text}</p>")
    for cell, difference in evaluation.losses:
        paragraphs.append(
            f'<p class="loss"><b>{escape(difference.first)} {VERDICTS[difference.verdict]} '
            f"the {FLOOR}</b> on {escape(cell.title)}: {_signed(difference.psnr)} dB, "
            f"n = {difference.psnr.n}.</p>"
        )
    names = [model.name for model in evaluation.models]
    known = [baseline.name for baseline in evaluation.baselines]
    for first, second in (*product(names, known), *combinations(names, 2)):
        paragraphs.append(f"<p>{_pair_verdict(evaluation, first, second)}</p>")
    return f'<section class="verdict">{"".join(paragraphs)}</section>\n'


def _pair_verdict(evaluation: Evaluation, first: str, second: str) -> str:
    """How two models compare, over all cells in which both were scored."""
    found = [d for cell in evaluation.cells if (d := cell.difference(first, second)) is not None]
    counts = [
        f"{words} it in {sum(difference.verdict == verdict for difference in found)}"
        for verdict, words in VERDICTS.items()
    ]
    untold = sum(difference.verdict == NO_VERDICT for difference in found)
    counts += [f"has no verdict in {untold}"] * (untold > 0)
    start = f"<b>{escape(first)}</b> against <b>{escape(second)}</b>, in pairs of subjects"
    if not found:
        return f"{start}: no cell in common."
    return f"{start}, {len(found)} cells: it {', '.join(counts)}."


def _pair_table(evaluation: Evaluation) -> str:
    """Every pair of models or of model and baseline in every cell; empty without one."""
    rows = [
        (
            [
                escape(cell.title),
                escape(f"{difference.first} − {difference.second}"),
                str(difference.psnr.n),
                _gain(difference),
                difference.verdict,
            ],
            True,
        )
        for cell in evaluation.cells
        for difference in cell.differences
        if difference.second != FLOOR
    ]
    if not rows:
        return ""
    return _section("In pairs", _table(["Cell", "Pair", "n", "PSNR, dB", "The first"], rows))


def _headline(evaluation: Evaluation) -> str:
    """Large numbers of the cell to judge by."""
    cell = evaluation.headline
    if cell is None:
        return '<p class="loss">No cell applies to any of the models.</p>\n'
    blocks = []
    for scores in cell.models:
        if scores.summary is None:
            continue
        summary, gain = scores.summary, cell.difference(scores.model)
        cards = [
            _card("PSNR", f"{summary.psnr.mean:.1f}", summary.psnr),
            *(
                _card(f"{tracer.upper()} alone", f"{value.mean:.1f}", value)
                for tracer, value in zip(cell.tracers, summary.psnr_by_tracer, strict=True)
            ),
        ]
        if gain is not None:
            cards.append(_card("over linear", f"{gain.psnr.mean:+.1f}", gain.psnr))
        name = f"<h3>{escape(scores.model)}</h3>" if len(cell.models) > 1 else ""
        blocks.append(f"{name}{parts().cards(cards)}")
    kind = f"n = {cell.subjects}"
    return f'<section><p class="note">{escape(cell.title)}, {kind}</p>{"".join(blocks)}</section>\n'


def _card(label: str, value: str, interval: Interval) -> Card:
    return Card(label, value.replace("-", "−"), _range(interval), "dB")


def _cell_table(evaluation: Evaluation) -> str:
    pairs = {cell.tracers for cell in evaluation.cells}
    columns = [name.upper() for name in pairs.pop()] if len(pairs) == 1 else ["First", "Second"]
    head = ["Cell", "Model", "n", "PSNR, dB", *columns, "Over linear, dB"]
    rows = []
    for cell in evaluation.cells:
        for place, scores in enumerate(cell.series):
            title = escape(cell.title) if place == 0 else ""
            start = [title, escape(scores.model) + _tags(scores), str(len(scores.subjects) or "")]
            rows.append((_psnr_cells(cell, scores, start), place == 0))
    return _table(head, rows)


def _tags(scores: ModelScores) -> str:
    """A badge for each thing that the training had seen or not; none for what is not trained."""
    seen = {} if scores.novelty is None else vars(scores.novelty)
    tags = "".join(
        f'<span class="tag{" new" * (state == "new")}">{name} {state}</span> '
        for name, state in seen.items()
    )
    tags += f'<span class="tag">fitted {escape(scores.fitted)}</span>' if scores.fitted else ""
    return f'<span class="tags">{tags}</span>' if tags else ""


def _psnr_cells(cell: CellResult, scores: ModelScores, start: list[str]) -> list[str]:
    if scores.summary is None:
        return [*start, f'<span class="absent">not applicable: {escape(scores.reason)}</span>']
    by_tracer = [_with_range(interval) for interval in scores.summary.psnr_by_tracer]
    return [
        *start,
        _with_range(scores.summary.psnr),
        *by_tracer,
        _gain(cell.difference(scores.model)),
    ]


def _gain(difference: Difference | None) -> str:
    if difference is None:
        return ""
    mark = "" if difference.verdict in ("beats", NO_VERDICT) else ' class="bad"'
    text = f"<span{mark}>{difference.psnr.mean:+.1f}</span>".replace("-", "−")
    return f'{text} <span class="range">{_range(difference.psnr)}</span>'


def _detail_table(evaluation: Evaluation) -> str:
    head = ["Cell", "Model", "n", "SSIM", "NRMSE", "Before injection, kBq/mL", "Sum residual"]
    rows = []
    for cell in evaluation.cells:
        if not cell.applicable:
            continue
        for place, scores in enumerate(cell.series):
            if scores.summary is None:
                continue
            pairs = (scores.summary.ssim, scores.summary.nrmse, scores.summary.before_injection)
            numbers = [" / ".join(f"{value.mean:.3f}" for value in pair) for pair in pairs]
            title = escape(cell.title) if place == 0 else ""
            residual = f"{scores.summary.sum_residual.mean:.3f}"
            start = [title, escape(scores.model), str(len(scores.subjects))]
            rows.append(([*start, *numbers, residual], place == 0))
    note = '<p class="note">Means over subjects; pairs are first / second tracer.</p>'
    return note + _table(head, rows)


def _kinetic_table(evaluation: Evaluation) -> str:
    """Read-outs and conserved activity of every series; what cannot be told, and why."""
    head = ["Cell", "Model", "Read", "n", "Error, %", "Bias, %", "Worst region, bias"]
    rows, reasons = [], []
    for cell in evaluation.cells:
        first = True
        for scores in cell.every if cell.applicable else ():
            found = None if scores.summary is None else scores.summary.kinetics
            if found is None:
                continue
            reasons += [f"{cell.title}: {what}: {why}" for what, why in found.lacking.items()]
            residual = "" if found.conservation is None else f"{found.conservation.body:.1f}"
            for tracer, quantity in found.judged.items():
                one = found.readouts.get(tracer, {}).get(quantity)
                if one is None:
                    continue
                bias = one.regions[one.worst_bias_region].bias
                numbers = [f"{one.error:.1f}", f"{one.bias:.1f}", f"{bias:+.1f}", residual]
                numbers = [number.replace("-", "−") for number in numbers]
                start = [escape(cell.title) if first else "", escape(scores.model)]
                read = f"{quantity} of {escape(tracer.upper())}"
                numbers[2] = f"{escape(one.worst_bias_region)} {numbers[2]}"
                rows.append(([*start, read, str(one.subjects), *numbers], first))
                first = False
    if not rows and not reasons:
        return ""
    table = _table([*head, "Body residual, %"], rows) if rows else ""
    lacking = "".join(f"<p class='note'>{escape(text)}.</p>" for text in dict.fromkeys(reasons))
    note = "Means over subjects of what is fitted alike from answer and truth; no CSF. "
    return f'<p class="note">{note}</p>{table}{lacking}'


def _cell_section(cell: CellResult, pictures: Sequence[Picture]) -> str:
    return _section(cell.title, _figures(pictures, cell.key))


def _figures(pictures: Sequence[Picture], cell: str) -> str:
    return "".join(
        parts().figure(picture.png, picture.caption) for picture in pictures if picture.cell == cell
    )


def _lineage(evaluation: Evaluation) -> str:
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
    for cell in evaluation.cells:
        if cell.store_digest:
            entries.append((f"data, {cell.title}", cell.store_digest))
    return str(parts().definitions(entries, "lineage"))


def _range(interval: Interval) -> str:
    return interval.range_text(1).replace("-", "−")


def _with_range(interval: Interval) -> str:
    mean = f"{interval.mean:.1f}".replace("-", "−")
    return f'{mean} <span class="range">{_range(interval)}</span>'


def _signed(interval: Interval) -> str:
    return interval.text(1, "+").replace("-", "−")


def _section(title: str, content: str) -> str:
    """A section under a title; nothing where there is no content, which is HTML."""
    return str(parts().section(title, caller=lambda: _html(content)))


def _table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    """A table of cells that are HTML; with each row stands whether it begins a group."""
    cells = [list(map(_html, row)) for row, _ in rows]
    return str(parts().table(head, cells, [begins for _, begins in rows]))


def _html(text: str) -> Markup:
    """A text that is HTML already: names in it have been escaped."""
    return Markup(text)  # noqa: S704
