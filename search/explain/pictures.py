"""The pictures of a report, with their captions: those for which there is something to draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from dtsinn.plots.style import png
from dtsinn.search.explain import charts, parameter_charts
from dtsinn.search.explain.cost_chart import cost
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances
from dtsinn.search.explain.parallel_chart import AXES, parallel

PICTURES = ("progress", "curves", "importances", "slices", "parallel", "pareto", "cost")
"""Names of all that a report can have."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One chart of the report."""

    name: str
    """Name of its file, without the ending."""
    section: str
    caption: str
    png: bytes


def draw_pictures(facts: Facts, found: Importances) -> Iterator[Picture]:
    """Every chart for which there is something to draw."""

    def make_picture(name: str, section: str, figure: Figure, caption: str) -> Picture:
        return Picture(name=name, section=section, caption=caption, png=png(figure))

    title = facts.objective.title
    if facts.final:
        yield make_picture(
            "progress", "Progress", charts.draw_progress(facts),
            f"Best {title} so far, and what each trial had reached at its last report, against "
            "the training steps of all trials and against time. Trials without a value are not "
            "shown; hollow marks at the edge lie outside.",
        )  # fmt: skip
        yield make_picture(
            "curves", "Progress", charts.draw_learning_curves(facts),
            "Every trial's values against its own steps; its mark is where it ended.",
        )  # fmt: skip
    if found.rows:
        yield make_picture(
            "importances", "What mattered", parameter_charts.draw_importances(found), found.note
        )
    if facts.final:
        yield make_picture(
            "slices", "What mattered", parameter_charts.draw_slices(facts, found),
            f"The {title} at the last report against each parameter over its whole range; the best "
            "trial is ringed. Stopped trials had fewer steps. Choices are spread a little "
            "sideways.",
        )  # fmt: skip
        most = AXES
        shown = f", those {most} that explain most," if len(facts.space.parameters) > most else ""
        yield make_picture(
            "parallel", "What mattered", parallel(facts, found),
            f"Each line is a trial. It passes every parameter{shown} at the value that it had, "
            "below the axis where it did not have it, and ends at what it reached.",
        )  # fmt: skip
    if facts.values and len(facts.objectives) > 1:
        yield make_picture(
            "pareto", "Several objectives", parameter_charts.draw_pareto(facts),
            "Finished trials that no other one beats in every objective are ringed; without a "
            "finished trial, those among all.",
        )  # fmt: skip
    if any(facts.stretches(trial) for trial in facts.trials):
        yield make_picture(
            "cost", "What it took", cost(facts),
            "Training steps and seconds of trials by how they ended, and every trial over time. "
            "Rows are as many as ran side by side; a dashed line is where the search was taken "
            "up again.",
        )  # fmt: skip
