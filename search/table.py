"""The live table of a search: trials, their states, the best so far, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

SHOWN = 12
"""Rows of the table: running trials first, then the best."""
STYLES = {"running": "cyan", "finished": "green", "pruned": "yellow", "failed": "red"}


@dataclass
class _Row:
    name: str
    suggestion: dict[str, Any]
    state: str = "running"
    step: int = 0
    psnr: float | None = None
    reason: str = ""
    begun: float = field(default_factory=time.monotonic)


class TrialTable:
    """Shows trials as they go; on something that is no terminal, one line per trial's end."""

    def __init__(self, console: Console, trials: int, steps: int) -> None:
        self.console, self.trials, self.steps = console, trials, steps
        self.rows: dict[str, _Row] = {}
        self.begun = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> TrialTable:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def started(self, name: str, suggestion: Mapping[str, Any]) -> None:
        """A trial starts."""
        self.rows[name] = _Row(name, dict(suggestion))
        self._show()

    def reported(self, name: str, step: int, psnr: float) -> None:
        """A trial has reached a step with a best PSNR in dB."""
        row = self.rows[name]
        row.step, row.psnr = step, psnr
        self._show()

    def ended(self, name: str, state: str, reason: str) -> None:
        """A trial ended."""
        row = self.rows.setdefault(name, _Row(name, {}))
        row.state, row.reason = state, reason
        if not self.console.is_terminal:
            psnr = "no result" if row.psnr is None else f"{row.psnr:.2f} dB"
            self.console.print(
                f"{name}  {state}  step {row.step}/{self.steps}  {psnr}  {self._summary()}",
                highlight=False,
                soft_wrap=True,
            )
        self._show()

    def _show(self) -> None:
        if self.console.is_terminal:
            self.live.update(Group(self._table(), Text(self._summary())), refresh=True)

    def _summary(self) -> str:
        ended = sum(row.state != "running" for row in self.rows.values())
        best = max((row for row in self.rows.values() if row.psnr), key=_psnr, default=None)
        elapsed = time.monotonic() - self.begun
        steps = sum(row.step for row in self.rows.values())
        text = f"[{ended}/{self.trials} trials, {steps / max(elapsed, 1e-9):.0f} steps/s"
        if best is not None:
            text += f", best {best.psnr:.2f} dB in {best.name}"
        if ended:
            text += f", about {_clock(elapsed / ended * (self.trials - ended))} left"
        return text + "]"

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", padding=(0, 1))
        keys = sorted({key for row in self.rows.values() for key in row.suggestion})
        for title in ("trial", "state", "step", "PSNR dB"):
            table.add_column(title, justify="right" if title in {"step", "PSNR dB"} else "left")
        for key in keys:
            table.add_column(key.rpartition(".")[2], justify="right", style="dim")
        order = sorted(self.rows.values(), key=lambda row: (row.state != "running", -_psnr(row)))
        for row in order[:SHOWN]:
            table.add_row(
                row.name,
                Text(row.state, style=STYLES.get(row.state, "")),
                f"{row.step}/{self.steps}",
                "" if row.psnr is None else f"{row.psnr:.2f}",
                *(_short(row.suggestion.get(key)) for key in keys),
            )
        return table


def _psnr(row: _Row) -> float:
    return row.psnr if row.psnr is not None else float("-inf")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
