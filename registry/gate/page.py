"""The gate's report as one HTML page: what was asked, what was found, how each subject did."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from dtsinn.core.version import code_version
from dtsinn.evaluation.metrics import Interval
from dtsinn.plots.page import Card, render_page
from dtsinn.plots.style import png
from dtsinn.registry.gate.report import CellResult, GateReport

BETTER, WORSE, INK = "#1b7837", "#b2182b", "#333333"
"""Colours of subjects that gained and lost, distinct in grey too."""
VERDICTS = {
    "passed": "{candidate} passes the gate against {against}.",
    "refused": "{candidate} is refused against {against}.",
    "unchanged": "{candidate} holds the champion's own weights: nothing to do.",
}


def gate_page(report: GateReport) -> str:
    """The report as HTML text, with its picture inside."""
    checks = [
        [
            check.name,
            f"{check.value:.3g}" if isinstance(check.value, float) else check.value,
            f"{check.limit:g}" if isinstance(check.limit, float) else check.limit,
            check.verdict,
            check.detail,
        ]
        for check in report.checks
    ]
    return render_page(
        "registry/gate/report.html.j2",
        title=f"{report.candidate}: gate",
        report=report,
        verdict=VERDICTS[report.verdict].format(candidate=report.candidate, against=report.against),
        cards=list(_cards(report)),
        checks=checks,
        picture=_draw(report),
        cells=[_row(cell) for cell in report.cells],
        version=code_version(),
    )


def _cards(report: GateReport) -> Iterator[Card]:
    if report.psnr is not None:
        yield Card("PSNR", f"{report.psnr.mean:.2f}", _between(report.psnr, ""), "dB")
    if report.difference is not None:
        mean = f"{report.difference.mean:+z.2f}".replace("-", "−")
        label = f"against {report.against}"
        yield Card(label, mean, _between(report.difference, "+"), "dB")
        yield Card("Subjects", str(report.subjects), "each counts once")


def _row(cell: CellResult) -> list[str]:
    return [
        cell.key,
        str(cell.subjects),
        f"{cell.candidate:.2f}",
        f"{cell.opponent:.2f}",
        f"{cell.difference.mean:+z.2f} ({_between(cell.difference, '+')})".replace("-", "−"),
        "decides" if cell.decides else "must not be lost",
        cell.novelty.text(),
    ]


def _between(interval: Interval, sign: str) -> str:
    return interval.range_text(2, sign).replace("-", "−")


def _draw(report: GateReport) -> bytes:
    """The paired differences in order of size, and the interval of their mean."""
    gains = sorted(a - b for a, b in report.per_subject.values())
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(gains)), gains, color=[BETTER if gain > 0 else WORSE for gain in gains])
    axes.axhline(0, color=INK, linewidth=0.8)
    if report.difference is not None:
        mean, low, high, _ = report.difference
        title = f"Dashed: the mean, n = {len(gains)}"
        if low is not None and high is not None:
            axes.axhspan(low, high, color=INK, alpha=0.15, linewidth=0)
            title += "; shaded: its 95 % interval"
        axes.axhline(mean, color=INK, linestyle="--", linewidth=1)
        axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("subjects, in order of their difference")
    axes.set_ylabel("difference of PSNR, dB")
    axes.set_xticks([])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return png(figure, dpi=130)
