"""What a benchmark found, as a rich table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

Say = Callable[[str], None]
"""Told of what is being done."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one benchmark measured."""

    name: str
    title: str
    machine: dict[str, str]
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
        lines += [_row(table.columns), _row(["---"] + ["---:"] * (len(table.columns) - 1))]
        lines += [_row(row) for row in table.rows]
        lines.append("")
    lines += [f"- {note}" for note in result.notes]
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    return "\n".join([*lines, "", f"Measured on: {machine}.", ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
