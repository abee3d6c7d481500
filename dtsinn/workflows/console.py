"""What a person at the terminal sees: progress, results, and errors in one line."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from dtsinn.core.display import duration, minutes, printable, value_text
from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from dtsinn.core.protocol import Protocol
    from dtsinn.core.tracer import Tracer
    from dtsinn.evaluation.results import Evaluation
    from dtsinn.evaluation.suite import Suite
    from dtsinn.workflows.pairs import PairSearches

PIPE_WIDTH = 1000
"""Columns where nobody looks at a terminal: a row of a table is a line."""
_IS_SEEN = sys.stdout is not None and sys.stdout.isatty()
out = Console(soft_wrap=True, highlight=False, width=None if _IS_SEEN else PIPE_WIDTH)
"""Results: what a command was asked for."""
err = Console(stderr=True, soft_wrap=True, highlight=False)
"""Progress and errors."""


def prepare() -> None:
    """Make this process's streams take every text, and keep libraries' warnings from them.

    What a terminal cannot show (``±`` in ASCII, a file's name in another encoding) is escaped.
    Streams that the caller has closed go nowhere: else the next file that is opened would get
    their number, and all that is printed. Warnings are for developers: ``--debug`` shows them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, mode))
        elif mode == "w":
            getattr(sys, name).reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # in processes that are started later


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Bars for long work, one per thing that is done; nothing when ``quiet``."""
    if quiet:
        yield no_progress
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=err)
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, total: int) -> None:
        bars.start()  # here, so that a command that refuses its input prints no empty bars
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    try:
        yield tell
    finally:
        if tasks:
            bars.stop()


def say(text: str, *, quiet: bool = False) -> None:
    """One line of result, plain text."""
    if not quiet:
        out.print(_plain(text), markup=False)


def say_json(content: Any) -> None:
    """Plain data as JSON on standard output."""
    out.print(json.dumps(content, indent=2), markup=False)


def say_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without lines."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(Text(title), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    out.print(table)


def say_evaluation(evaluation: Evaluation) -> None:
    """One row per cell and model: PSNR with its interval, and the gain over the linear map."""
    rows = []
    for cell in evaluation.cells:
        for scores in cell.series:
            seen = f"fitted {scores.fitted}" if scores.fitted else ""
            seen = seen if scores.novelty is None else scores.novelty.text()
            if scores.summary is None:
                why = f"not applicable: {scores.reason}"
                rows.append([cell.title, scores.model, "", why, "", seen])
                continue
            psnr, gain = scores.summary.psnr, cell.difference(scores.model)
            over = "" if gain is None else f"{gain.psnr.mean:+z.2f}"
            rows.append([cell.title, scores.model, str(psnr.n), psnr.text(2), over, seen])
    titles = ["cell", "model", "n", "PSNR dB (95 %)", "over linear dB", "against training"]
    say_table(titles, rows)


def say_pairs(found: PairSearches) -> None:
    """The matrix of training pair by test pair: PSNR, and the gain over the linear map, dB."""
    titles = [" + ".join(tracer.upper() for tracer in pair) for pair in found.pairs]
    rows = []
    for row, title in enumerate(titles):
        texts = []
        for cell in found.cells:
            scores = cell.models[row]
            if scores.summary is None:
                texts.append(scores.reason)
                continue
            gain = cell.difference(scores.model)
            over = "" if gain is None else f" ({gain.psnr.mean:+z.2f})"
            texts.append(f"{scores.summary.psnr.mean:.2f}{over}")
        rows.append([title, *texts])
    say_table(["trained on; tested on, dB (over linear)", *titles], rows)


def say_suites(suites: Sequence[Suite]) -> None:
    """One row per suite: what it asks, how many cells, and of how many subjects and slices."""
    rows = []
    for suite in suites:
        size = f"{suite.subjects} x {suite.slices}"
        rows.append([suite.name, str(suite.most_cells or "gate"), size, suite.description])
    say_table(["suite", "cells at most", "subjects x slices", "asks"], rows)


def say_suite(suite: Suite) -> None:
    """One row per combination of a suite, with what is not usual in it."""
    from dtsinn.data.header import USUAL

    rows = []
    for one in suite.grid():
        pair = one.tracers if isinstance(one.tracers, str) else " + ".join(one.tracers)
        phantom = one.phantom or suite.phantom
        model, population = one.noise_model or suite.noise_model, one.population or suite.population
        noise = f"{model}: {', '.join(suite.noise)}"
        rows.append([pair, one.protocol, phantom, population, noise, one.unusual or USUAL])
    say_table(["tracers", "protocol", "phantom", "population", "noise", "conditions"], rows)


def say_tracers(tracers: Sequence[Tracer]) -> None:
    """One row per tracer: isotope, model, dose, and how much of its kinetics is cited."""
    rows = []
    for tracer in tracers:
        cited = sum(not t.source.startswith("uncited") for t in tracer.tissues.values())
        rows.append(
            [
                tracer.name,
                tracer.label,
                duration(tracer.half_life, 2),
                str(tracer.model_order),
                f"{tracer.dose_MBq:g} MBq",
                f"{cited} of {len(tracer.tissues)}",
                "" if tracer.readout is None else tracer.readout.text(),
                tracer.target,
            ]
        )
    titles = ["tracer", "label", "half-life", "tissues in model", "dose", "cited regions"]
    say_table([*titles, "read-out", "shows"], rows)


def say_tracer(tracer: Tracer) -> None:
    """Regional kinetics of one tracer, each with its source, and the sources of the rest."""
    from dtsinn.core.tracer import PARAMETERS  # pydantic, which not every command waits for

    rows = [
        [region, *(f"{getattr(tissue, name):g}" for name in PARAMETERS), tissue.source]
        for region, tissue in tracer.tissues.items()
    ]
    say_table([tracer.label, "K1 mL/cm3/min", "k2 /min", "k3", "k4", "vB", "source"], rows)
    sources = tracer.sources
    parent = tracer.input.parent
    say_table(
        ["", "", "source"],
        [
            ["isotope", f"{tracer.isotope}, half-life {tracer.half_life:g} s", sources.half_life],
            ["model", f"{tracer.model_order} tissue compartments", sources.model_order],
            ["dose", f"{tracer.dose_MBq:g} MBq", sources.dose_MBq],
            ["input", _input_in_words(tracer), tracer.input.source],
            [
                "metabolites",
                "none"
                if parent is None
                else f"half of the parent left after {parent.half_time_min:g} min",
                "" if parent is None else parent.source,
            ],
            ["spread", f"K1 {100 * tracer.spread.subject.K1:g} % of subjects", sources.spread],
            *(
                []
                if tracer.readout is None
                else [["read-out", tracer.readout.text(), tracer.readout.source]]
            ),
        ],
    )


def _input_in_words(tracer: Tracer) -> str:
    if tracer.input.feng is None:
        return "measured curve"
    length = tracer.input.infusion_s
    return f"Feng's model, infused over {length:g} s" if length else "Feng's model, a bolus"


def say_protocols(protocols: Sequence[Protocol]) -> None:
    """Each protocol in words, and drawn to one scale: frames, and where the tracers come in."""
    longest = max(protocol.end for protocol in protocols) / 60
    for protocol in protocols:
        first, second = map(minutes, protocol.injection_time)
        say(f"{protocol.name}: {protocol.description}")
        say(
            f"  {protocol.frames} frames, {minutes(protocol.end)} min; "
            f"injections at {first} and {second} min; {protocol.source}"
        )
        for line in timeline_text(protocol, longest).splitlines():
            say(f"  {line}")
    say("1 and 2: injections, * both at once; | a frame ends; # several end within one character")


def say_tree(title: str, content: Mapping[str, Any]) -> None:
    """Nested plain data as a tree; what is empty is left out."""
    tree = Tree(Text(printable(title)))
    _grow(tree, content)
    out.print(tree)


def note(text: str) -> None:
    """One line beside the progress, on standard error."""
    err.print(_plain(text), markup=False)


def live(quiet: bool) -> Console:
    """Where a live display goes."""
    return Console(stderr=True, quiet=True) if quiet else err


def complain(text: str) -> None:
    """An error, one line on standard error."""
    err.print(f"dtsinn: {printable(text)}", markup=False)


def _plain(text: str) -> str:
    """Lines as they are, without what steers a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _grow(tree: Tree, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            _grow(tree.add(Text(printable(key))), value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            branch = tree.add(key)
            for number, part in enumerate(value, 1):
                _grow(branch.add(str(number)), part)
        elif value not in ("", None, [], {}):
            tree.add(Text(printable(f"{key}: {value_text(value, 5)}")))


NARROWEST = 10
"""Characters below which no timeline is drawn (uncited)."""
EDGE, EDGES, FRAME, BOTH = "|", "#", "-", "*"


def timeline_text(protocol: Protocol, minutes: float, width: int = 72) -> str:
    """Frames and injections as characters, such as ``1-|-|-2-|---|---|``.

    ``|`` is the border of a frame, ``#`` several borders that this scale does not tell apart,
    ``1`` and ``2`` the injections, ``*`` both of them. The line ends where the scan ends.

    Args:
        protocol: What to draw.
        minutes: What ``width`` stands for, so that protocols under each other share a scale.
        width: Characters of a scan of that length.

    Raises:
        InputError: The scan is longer than ``minutes``, or there are too few characters.
    """
    # In minutes, as whoever calls has divided too: 60 times a sixtieth may be less than the whole.
    if not (math.isfinite(minutes) and minutes >= protocol.end / 60):
        raise InputError(
            f"timeline of protocol {protocol.name!r}",
            got=f"{minutes:g} min",
            wanted=f"at least {protocol.end / 60:g} min",
        )
    if width < NARROWEST:
        raise InputError("width of a timeline", got=width, wanted=f"at least {NARROWEST}")

    def column(second: float) -> int:
        return round(second / (minutes * 60) * (width - 1))

    edges = [column(edge) for edge in protocol.frame_edges]
    line = [FRAME] * (edges[-1] + 1)
    for place in edges:
        line[place] = EDGE if line[place] == FRAME else EDGES
    first, second = (column(time) for time in protocol.injection_time)
    line[first], line[second] = "1", "2"
    if first == second:
        line[first] = BOTH
    return "".join(line)
