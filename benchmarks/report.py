"""What a benchmark found and on what machine, as a rich table, as Markdown and as JSON."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
import zarr
from rich.console import Console
from rich.table import Table as RichTable

from dtsinn.core.version import code_version

T = TypeVar("T")
Rounds = Annotated[int, typer.Option(help="Repetitions, after one that is not counted.")]
Steps = Annotated[int, typer.Option(help="Steps of each training.")]
Seeds = Annotated[int, typer.Option(help="Trainings, or searches, of each row.")]
Trials = Annotated[int, typer.Option(help="Trials of each search.")]
Kills = Annotated[int, typer.Option(help="Kills.")]
KillSeed = Annotated[int, typer.Option(help="Decides the moments of the kills.")]
Workers = Annotated[int, typer.Option(help="Processes, each on one thread.")]
Work = Annotated[Path, typer.Option(help="Data and finished jobs: a second call goes on.")]
Say = Callable[[str], None]
"""Told of what is being done."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text."""

    title: str = ""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_table(
    items: Iterable[T], columns: Mapping[str, Callable[[T], object]], title: str = ""
) -> Table:
    """A table with a row for each item; each column says what it shows of one."""
    rows = [[str(cell(item)) for cell in columns.values()] for item in items]
    return Table(title=title, columns=list(columns), rows=rows)


def facts_table(facts: Mapping[str, object], title: str = "", value: str = "value") -> Table:
    """A table of two columns: what, and how much."""
    rows = [[what, str(found)] for what, found in facts.items()]
    return Table(title=title, columns=["what", value], rows=rows)


def span(values: Sequence[float], digits: int = 2) -> str:
    """Mean, with the lowest and the highest."""
    low, high = min(values), max(values)
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def verdicts(held: Mapping[str, bool]) -> str:
    """Which targets were held and which were missed."""
    return "; ".join(f"{what}: {'held' if ok else 'missed'}" for what, ok in held.items())


def load_average() -> str:
    """What else the machine did in the last five minutes."""
    return f"{os.getloadavg()[1]:.1f}"


def describe_machine(**more: str) -> dict[str, str]:
    """Processor, cores, versions and date, in the order in which they are shown; no name.

    Args:
        more: Versions and facts that matter to one benchmark only.
    """
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "zarr": zarr.__version__,
        "python": platform.python_version(),
        "dtsinn": code_version(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    } | more


def _processor() -> str:
    """Model name, with family and model number, since virtual machines shorten the name."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name", platform.machine())
    family, model = found.get("cpu family"), found.get("model")
    return f"{name} (family {family}, model {model})" if family and model else name


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one benchmark measured."""

    name: str
    title: str
    machine: dict[str, str] = field(default_factory=describe_machine)
    notes: Sequence[str]
    """How it was measured, a sentence each."""
    tables: Sequence[Table]
    data: dict[str, Any]
    """All numbers, plain data."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """File name -> PNG."""


def show(result: Result, console: Console) -> None:
    """Print the tables and notes."""
    console.print(f"\n[bold]{result.title}[/bold]")
    for table in result.tables:
        shown = RichTable(title=table.title or None, title_justify="left", title_style="italic")
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in result.notes:
        console.print(f"  - {note}", style="dim", markup=False, highlight=False)


def write(result: Result, folder: Path) -> None:
    """Write ``<name>.json``, ``<name>.md`` and the pictures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": result.name,
        "machine": result.machine,
        "notes": list(result.notes),
        "data": result.data,
    }
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / f"{result.name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{result.name}.md").write_text(markdown(result), encoding="utf-8")
    for name, picture in result.pictures.items():
        (folder / name).write_bytes(picture)


def markdown(result: Result) -> str:
    """The result as a page."""
    lines = [f"# {result.title}", ""]
    for table in result.tables:
        if table.title:
            lines += [f"{table.title}:", ""]
        ruler = ["---"] + ["---:"] * (len(table.columns) - 1)
        lines += [f"| {' | '.join(row)} |" for row in (table.columns, ruler, *table.rows)]
        lines.append("")
    lines += [f"- {note}" for note in result.notes]
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    return "\n".join([*lines, "", f"Measured on: {machine}.", ""])
