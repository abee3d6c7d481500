"""``claims``: the axes on which the DTS-INN paper says that it holds, one at a time.

On each setting the linear map, a U-Net and coupling blocks are trained for the same CPU
time, and tested on unseen subjects of that setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.prepare import WORK, prepare_store
from benchmarks.quality.comparison import Done
from benchmarks.quality.methods import LINEAR, OURS, all_methods
from benchmarks.quality.scores import METRICS, difference, interval, kinetic, shown
from benchmarks.report import Result, Say, Table, Work, Workers, make_table
from benchmarks.trainings import Wanted, fit_all, found_settings
from benchmarks.workers import Book
from dtsinn.simulation.request import StudyRequest

NAME, BOOK = "claims", "claims.jsonl"
RIVAL = "unet"
METHODS = (LINEAR, RIVAL, OURS)
BASE = StudyRequest(
    tracers=("fmz", "fdg"), protocol="p1", phantom="brain", noise="mid",
    subjects=60, slices=8, size=64, seed=91, purpose="claims", population="varied",
)  # fmt: skip
SPLITS = {"train": 32 / 60, "val": 8 / 60, "test": 20 / 60}
AXES: dict[str, tuple[dict[str, Any], ...]] = {
    "noise": tuple({"noise": level} for level in ("low", "mid", "high")),
    "phantom": tuple({"phantom": name} for name in ("brain", "brain-lesion", "thorax")),
    "pair": tuple(
        {"tracers": pair}
        for pair in (("fmz", "fdg"), ("dtbz", "fdg"), ("raclopride", "fdg"), ("mpdx", "fdg"),
                     ("pib", "fdg"), ("fmz", "ace"))
    ),
    "protocol": tuple({"protocol": name} for name in ("p1", "scan40", "scan60", "scan80")),
}  # fmt: skip
"""What is varied -> changes of :data:`BASE`; the rest stays."""
DEFAULT_DATA = "image"
"""Set of the quality benchmark whose settings the networks have in every setting."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One place on one axis."""

    axis: str
    value: str
    """What the axis has here."""
    request: StudyRequest
    done: Mapping[str, list[Done]]
    """By method."""


def run(
    *,
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training.")] = 30,
    axes: Annotated[str, typer.Option(help="Axes, with commas; all by default.")] = "",
    work: Work = WORK,
    workers: Workers = 2,
    say: Say,
) -> Result:
    """Train on each of the paper's axes, short and for equal CPU time; half an hour on one core.

    Example: python -m benchmarks claims --axes noise,protocol
    """
    chosen = {name: AXES[name] for name in axes.split(",")} if axes else AXES
    return measure(BASE, chosen, seconds, work=work, workers=workers, say=say)


def measure(
    base: StudyRequest,
    axes: Mapping[str, Sequence[Mapping[str, Any]]],
    seconds: float,
    *,
    work: Path,
    workers: int = 1,
    splits: Mapping[str, float] = SPLITS,
    say: Say,
) -> Result:
    """Train every method on every setting, and report; equal settings are trained once.

    Args:
        base: What the axes vary.
        axes: Changes of it, by axis.
        seconds: CPU seconds of a training.
        work: Folder of stores, book and weights.
        workers: Processes, each on one thread.
        splits: Part of the subjects in each split.
        say: Told of what is being done.
    """
    places = [(axis, change, replace(base, **change)) for axis, some in axes.items()
              for change in some]  # fmt: skip
    names = {request: _name(request) for _, _, request in places}
    stores = {}
    for request, name in names.items():
        say(f"data: {name}")
        stores[name] = prepare_store(f"claims-{name}", request, work, splits)
    settings = {method: found_settings(method, DEFAULT_DATA) for method in METHODS}
    wanted = [
        Wanted(
            method=method,
            data=name,
            settings=chosen,
            seconds=seconds if all_methods()[method].trained else 0.0,
        )
        for name in stores
        for method, (chosen, _) in settings.items()
    ]
    book = Book(work / BOOK)
    done = fit_all(wanted, stores, book=book, work=work, workers=workers, say=say)
    found: dict[str, dict[str, list[Done]]] = {name: {} for name in stores}
    for run in done:
        found[run[0].data][run[0].method] = [run]
    return report(
        [
            Setting(
                axis=axis,
                value=" + ".join(request.tracers) if axis == "pair" else getattr(request, axis),
                request=request,
                done=found[names[request]],
            )
            for axis, _, request in places
        ],
        seconds,
    )


def _name(request: StudyRequest) -> str:
    return "-".join([*request.tracers, request.protocol, request.phantom, request.noise])


def report(settings: Sequence[Setting], seconds: float) -> Result:
    """Tables by axis."""
    tables = []
    for axis in dict.fromkeys(one.axis for one in settings):
        own = [one for one in settings if one.axis == axis]
        tables += [_values_table(axis, own), _differences_table(axis, own)]
    base = settings[0].request
    subjects = len(settings[0].done[LINEAR][0][1]["test"])
    return Result(
        name=NAME,
        title="The axes of the DTS-INN paper, each network trained on each setting",
        notes=[
            f"Base: {' + '.join(BASE.tracers)}, protocol {BASE.protocol}, phantom {BASE.phantom}, "
            f"noise {BASE.noise}, population {base.population}, {base.size} x {base.size} pixels, "
            f"{base.slices} slices; one axis is varied at a time. {base.subjects} subjects a "
            f"setting, {subjects} of them test; phantoms and frames are ours, not the paper's.",
            f"{seconds:g} CPU s of training a network, one seed; settings from the quality "
            "benchmark's search on the base's pair, protocol, phantom and noise, in every setting. "
            "Short: the paper's 1000 epochs are hours to days.",
            "PSNR, SSIM: means of both tracers, body pixels, frames from the injection on. MSE: of "
            "images over their peak, times 10,000. kinetic_error: each tracer's read-out (V_T or "
            "Ki) of the regions against that of the true images, percent; regions under 60 pixels "
            "a subject and those of fewer than five subjects are left out; none where no tracer "
            "has a read-out. Brackets: 95 % bootstrap intervals over test subjects; differences "
            "are paired by subject.",
        ],
        tables=tables,
        data={
            "seconds": seconds,
            "settings": [
                {"axis": one.axis, "value": one.value,
                 "methods": {method: _numbers(one.done[method]) for method in METHODS}}
                for one in settings
            ],
        },
    )  # fmt: skip


def _numbers(runs: list[Done]) -> dict[str, Any]:
    found = {name: interval(runs, name) for name in METRICS}
    found["kinetic_error"] = kinetic(runs, "kinetic_error")
    numbers: dict[str, Any] = {
        name: one._asdict() for name, one in found.items() if one is not None
    }
    job, result = runs[0]
    return numbers | {"steps": job.plan.steps, "cpu_seconds": result["cpu_seconds"]}


def _values_table(axis: str, settings: Sequence[Setting]) -> Table:
    rows = [(one, method, one.done[method]) for one in settings for method in METHODS]
    return make_table(
        rows,
        {
            axis: lambda row: row[0].value,
            "method": lambda row: all_methods()[row[1]].title,
            "PSNR dB": lambda row: shown(interval(row[2], "psnr")),
            "SSIM": lambda row: shown(interval(row[2], "ssim"), 3),
            "MSE x 10^4": lambda row: shown(interval(row[2], "mse"), 2),
            "kinetic_error %": lambda row: shown(kinetic(row[2], "kinetic_error"), 1),
        },
        f"By {axis}",
    )


def _differences_table(axis: str, settings: Sequence[Setting]) -> Table:
    rows = [(one, other) for one in settings for other in (LINEAR, RIVAL)]

    def pair(row: tuple[Setting, str]) -> tuple[list[Done], list[Done]]:
        return row[0].done[OURS], row[0].done[row[1]]

    return make_table(
        rows,
        {
            axis: lambda row: row[0].value,
            "dtsinn less": lambda row: all_methods()[row[1]].title,
            "PSNR dB": lambda row: shown(difference(*pair(row)), sign="+"),
            "SSIM": lambda row: shown(difference(*pair(row), "ssim"), 3, "+"),
            "MSE x 10^4": lambda row: shown(difference(*pair(row), "mse"), 2, "+"),
            "kinetic_error %": lambda row: shown(
                kinetic(pair(row)[0], "kinetic_error", pair(row)[1]), 1, "+"
            ),
        },
        f"By {axis}: coupling blocks less the others, in pairs",
    )
