"""Reports of searches: right on a search whose truth is known, and whole in every odd case."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.config import from_mapping, known_keys
from dtsinn.core.errors import InputError
from dtsinn.eventlog.log import EventLog
from dtsinn.search.events.state import SearchState, replay
from dtsinn.search.explain import importance
from dtsinn.search.explain.advice import find_shared_condition
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importance
from dtsinn.search.explain.page import Explanation, explain, write_explanation, write_report
from dtsinn.search.explain.pictures import PICTURES
from dtsinn.search.explain.words import PUBLISHED
from dtsinn.search.objective import PSNR, Objective
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.halving import Halving
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import SearchSpace
from dtsinn.training.config import RunConfig, apply_changes

SPACE = """
base: invertible
fixed: {steps: 1200, validate_every: 150}
parameters:
  model.blocks: {choice: [1, 2, 3, 4]}
  model.width: {int: [8, 32], step: 8}
  model.coupling: {choice: [additive, one-sided, two-sided]}
  model.clamp: {float: [0.4, 2.0], when: {model.coupling: [one-sided, two-sided]}}
  loss.backward: {float: [0.0, 0.2]}
  augmentation.flip: {choice: [0.0, 0.5]}
  optimizer.learning_rate: {log: [5e-4, 1.6e-2]}
"""
STEPS, EVERY, WORKERS, BEGAN_MS = 1200, 150, 3, 1_760_000_000_000
TWO = (*PSNR, Objective(metric="step_seconds", maximise=False))


@pytest.fixture
def whole_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many trees as a user's report has, where what they find is looked at."""
    monkeypatch.setattr(importance, "TREES", 32)


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "made.yaml"
    path.write_text(SPACE)
    return load_space(str(path))


def psnr_of(suggestion: Mapping[str, Any], step: int, noise: float) -> float:
    """Only the learning rate matters, most at 4e-3; values grow with the steps."""
    off = math.log10(suggestion["optimizer.learning_rate"] / 4e-3)
    return 31 - 6 * off**2 - 8 * math.exp(-step / 300) + noise


def diverges(suggestion: Mapping[str, Any]) -> bool:
    return bool(suggestion["optimizer.learning_rate"] > 1.1e-2)


class Fake:
    """A search that never ran: its events, as a driver would have written them.

    Args:
        space: Where random suggestions come from.
        halving: Stop trials as the scheduler would.
        spoils: Which suggestions diverge before their first report.
        value: The PSNR of a suggestion at a step, with noise.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        halving: bool = True,
        spoils: Any = diverges,
        value: Any = psnr_of,
        seed: int = 0,
    ) -> None:
        self.space, self.spoils, self.value = space, spoils, value
        self.rng = np.random.default_rng(seed)
        self.study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        self.rungs = Halving(first=EVERY, most=STEPS, reduction=3) if halving else None
        self.workers = [BEGAN_MS] * WORKERS
        plan = SearchPlan(name="made", store="made.zarr", space=space, objectives=TWO).as_data()
        self.events: list[dict[str, Any]] = [
            {"event": "sitting", "host": "here", "pid": 1, "plan": plan, "time_ms": BEGAN_MS},
            self._begin("made", BEGAN_MS),
        ]
        self.number = 0

    def _begin(self, key: str, time_ms: int, kind: str = "trial") -> dict[str, Any]:
        run = {"key": key, "name": key, "kind": kind, "experiment": "e", "time_ms": time_ms}
        return {"event": "begin", "run": run, "time_ms": time_ms}

    def trial(self, suggestion: Mapping[str, Any] | None = None, source: str = "sampler") -> str:
        """One more trial, on the worker that is free first; its name."""
        drawn = suggestion or self.space.draw(self.study.ask())
        name = f"trial-{self.number:03d}"
        worker = int(np.argmin(self.workers))
        now = self.workers[worker]
        pace = 0.02 + 0.01 * drawn["model.blocks"] + drawn["model.width"] / 4000
        self._add(
            {"event": "suggest", "trial": name, "number": self.number, "suggestion": drawn,
             "seed": 0, "source": source, "seconds": 0.1, "time_ms": now}
        )  # fmt: skip
        self._add(self._begin(f"made/{name}", now + 500))
        noise, status, reason, best = float(self.rng.normal(0, 0.1)), "finished", "", -99.0
        for step in range(EVERY, STEPS + 1, EVERY):
            now += int(1000 * pace * EVERY)
            if self.spoils(drawn):
                status, reason = "pruned", f"loss is nan at step {step - 7}; try a lower rate"
                break
            best = max(best, self.value(drawn, step, noise))
            metrics = {"best_psnr": best, "step_seconds": pace}
            self._add(
                {"event": "report", "key": f"made/{name}", "step": step, "metrics": metrics,
                 "time_ms": now}
            )  # fmt: skip
            if self.rungs and not self.rungs.goes_on(name, self.number, step, best):
                status, reason = "pruned", "stopped by the scheduler"
                break
        self.end(f"made/{name}", status, reason, now, spoiled="nan" in reason)
        self.workers[worker] = now + 2000
        self.number += 1
        return name

    def floor(self, psnr: float | None, reason: str = "") -> None:
        """The linear map, fitted before the trials; None where it could not be."""
        now = BEGAN_MS + 100
        self._add(self._begin("made/floor", now, "floor"))
        if psnr is not None:
            metrics = {"best_psnr": psnr}
            self._add(
                {"event": "report", "key": "made/floor", "step": 1, "metrics": metrics,
                 "time_ms": now}
            )  # fmt: skip
        self.end("made/floor", "failed" if psnr is None else "finished", reason, now)

    def end(
        self,
        key: str,
        status: str,
        reason: str = "",
        now: int | None = None,
        *,
        spoiled: bool = False,
    ) -> None:
        """A run ends."""
        tags = {"reason": reason} if reason else {}
        tags |= {"spoiled": "yes"} if spoiled else {}
        now = max(self.workers) if now is None else now
        self._add({"event": "end", "key": key, "status": status, "tags": tags, "time_ms": now})

    def _add(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def history(self) -> SearchState:
        """What the events tell, in the order of their times."""
        return replay("made", sorted(self.events, key=lambda event: event["time_ms"]))


def searched(
    space: SearchSpace, trials: int, floor: tuple[float | None, str] | None = None, **more: Any
) -> SearchState:
    """A search of so many trials that has finished; the first is the base configuration."""
    fake = Fake(space, **more)
    if floor is not None:
        fake.floor(*floor)
    for number in range(trials):
        start = {
            "model.blocks": 1, "model.width": 16, "model.coupling": "additive",
            "loss.backward": 0.0, "augmentation.flip": 0.5, "optimizer.learning_rate": 7e-3,
        }  # fmt: skip
        fake.trial(start if number == 0 else None, "base" if number == 0 else "sampler")
    fake.end("made", "finished")
    return fake.history()


def explained(
    history: SearchState, space: SearchSpace, objectives: Sequence[Objective] = PSNR
) -> Explanation:
    return explain(history, space, objectives)


def the_row(explanation: Explanation, key: str) -> Importance:
    (row,) = (row for row in explanation.importances.rows if row.key == key)
    return row


# ------------------------------------------------------------------ what is concluded


@pytest.mark.usefixtures("whole_forests")
def test_the_one_parameter_that_matters_is_found_with_its_good_values(space: SearchSpace) -> None:
    found = explained(searched(space, 40), space)
    assert found.importances.mattering[0].key == "optimizer.learning_rate"
    row = the_row(found, "optimizer.learning_rate")
    assert row.share > 0.6
    low, high = map(float, row.good.split(" to "))
    assert low < 4e-3 < high
    assert high / low < 8  # of a range of 32
    said = found.conclusion.mattered
    assert said[0].startswith("optimizer.learning_rate mattered")


@pytest.mark.usefixtures("whole_forests")
def test_nothing_matters_where_values_are_noise(space: SearchSpace) -> None:
    rng = np.random.default_rng(3)
    history = searched(
        space, 40, spoils=lambda _: False, halving=False, value=lambda *_: 30 + rng.normal()
    )
    found = explained(history, space).importances
    # By chance a parameter is above nine shuffles in one case of ten.
    assert len(found.mattering) <= 2
    assert all(row.share < 0.6 for row in found.rows)


@pytest.mark.usefixtures("whole_forests")
def test_survivors_of_the_scheduler_do_not_hide_what_mattered(space: SearchSpace) -> None:
    """At the end of the budget all learning rates are good: judge before that."""
    found = explained(searched(space, 80), space)
    assert found.importances.step < STEPS
    assert the_row(found, "optimizer.learning_rate").matters
    assert f"at step {found.importances.step}" in found.importances.note


@pytest.mark.usefixtures("whole_forests")
def test_a_conditional_parameter_is_judged_over_the_trials_that_have_it(
    space: SearchSpace,
) -> None:
    def value(suggestion: Mapping[str, Any], step: int, noise: float) -> float:
        return 30 - 4 * abs(suggestion.get("model.clamp", 1.2) - 1.2) + noise

    history = searched(space, 40, spoils=lambda _: False, halving=False, value=value)
    row = the_row(explained(history, space), "model.clamp")
    having = sum("model.clamp" in trial.suggestion for trial in history.trials.values())
    assert row.trials == having < 40
    assert row.matters
    assert row.condition == "model.coupling is one-sided or two-sided"


def test_the_gain_is_told_over_the_base_at_a_common_step(space: SearchSpace) -> None:
    fake = Fake(space, halving=False)
    good = space.start()
    assert good is not None
    fake.trial(good | {"optimizer.learning_rate": 1e-3}, "base")
    fake.trial(good | {"optimizer.learning_rate": 4e-3})
    found = explained(fake.history(), space)
    assert found.facts.best is not None
    assert found.facts.best.name == "trial-001"
    assert found.facts.gain is not None
    assert found.facts.gain.step is None
    # The base is cut short: the two are compared where it ended.
    events = [
        event
        for event in fake.events
        if event.get("key") != "made/trial-000" or event.get("step", STEPS) <= 300
    ]
    for event in events:
        if event["event"] == "end" and event["key"] == "made/trial-000":
            event |= {"status": "pruned", "tags": {"reason": "stopped by the scheduler"}}
    gain = Facts(history=replay("made", events), space=space, objectives=PSNR).gain
    assert gain is not None
    assert gain.step == 300
    assert gain.best_value - gain.base_value == pytest.approx(
        found.facts.gain.best_value - found.facts.gain.base_value
    )


@pytest.mark.parametrize("over", [0.75, -1.25])
def test_the_best_is_set_against_the_floor(space: SearchSpace, over: float) -> None:
    alone = explained(searched(space, 4), space)
    best = alone.facts.final[alone.facts.best.name]
    found = explained(searched(space, 4, floor=(best - over, "")), space)
    over_or_under = "0.75 dB over" if over > 0 else "1.25 dB under"
    assert f"{alone.facts.best.name} is {over_or_under} linear, the map" in found.conclusion.floor
    assert ("No trial is better" in found.conclusion.floor) == (over < 0)
    floor = found.record["floor"]
    assert floor["over_linear_dB"] == pytest.approx(over)
    assert floor["values"] == {"psnr": best - over}
    assert (alone.record["floor"], alone.conclusion.floor) == (None, "")
    changed = {key for key, value in found.record.items() if value != alone.record[key]}
    assert changed == {"floor", "conclusion"}, "it is none of the trials"


def test_a_floor_that_could_not_be_fitted_is_told_with_the_reason(space: SearchSpace) -> None:
    found = explained(searched(space, 2, floor=(None, "no memory")), space)
    assert found.conclusion.floor.endswith("the linear map could not be fitted: no memory.")
    assert found.record["floor"]["over_linear_dB"] is None


def test_the_best_is_set_against_the_published_recipe(space: SearchSpace) -> None:
    found = explained(searched(space, 12), space)
    assert found.conclusion.comparison is not None
    keys = {one.key: one for one in found.conclusion.comparison.departures}
    assert keys["model.subnet"].published == "dense"
    assert not keys["model.subnet"].searched
    assert keys["optimizer.learning_rate"].searched
    assert "batch" in found.conclusion.comparison.same


def test_the_published_recipe_names_settings_that_exist() -> None:
    known = set(known_keys(RunConfig))
    assert set(PUBLISHED) <= known
    # What is no setting of ours stands in words.
    words = {"model.mixing", "optimizer.learning_rate", "optimizer.clip"}
    changes = {key: value for key, value in PUBLISHED.items() if key not in words}
    config = from_mapping(RunConfig, apply_changes({}, changes), "published")
    assert config.model.kind == "invertible"


# ------------------------------------------------------------------ what is doubted


def test_what_diverged_trials_share_is_named(space: SearchSpace) -> None:
    def spoils(suggestion: Mapping[str, Any]) -> bool:
        return bool(suggestion["optimizer.learning_rate"] > 5e-3)

    found = explained(searched(space, 40, spoils=spoils), space)
    (warning,) = (text for text in found.conclusion.warnings if "infeasible" in text)
    shared = find_shared_condition(found.facts)
    assert shared is not None
    assert shared.text.startswith("optimizer.learning_rate of 0.00")
    assert shared.text.endswith("or more")
    assert shared.others <= 1
    assert shared.text in warning


def test_a_best_value_at_the_end_of_a_range_asks_for_a_wider_one(space: SearchSpace) -> None:
    def value(suggestion: Mapping[str, Any], step: int, noise: float) -> float:
        return 30 + suggestion["model.blocks"] + noise

    def lower(suggestion: Mapping[str, Any], step: int, noise: float) -> float:
        return 30 - 40 * suggestion["loss.backward"] + noise / 100

    more = {"spoils": lambda _: False, "halving": False}
    warnings = explained(searched(space, 30, value=value, **more), space).conclusion.warnings
    assert any("model.blocks, 4, is at the upper end" in text for text in warnings)
    # Below 0 there is no weight of a loss: nothing to widen.
    found = explained(searched(space, 30, value=lower, **more), space)
    assert the_row(found, "loss.backward").matters
    assert not any("loss.backward" in text for text in found.conclusion.warnings)


def test_trials_that_end_with_the_search_are_not_infeasible(space: SearchSpace) -> None:
    fake = Fake(space)
    fake.trial()
    for reason, outcome in (
        ("stopped by the scheduler", "pruned"),
        ("the time budget is spent", "pruned"),
        ("the budget of 900 steps is spent", "pruned"),
        ("the target is reached: psnr 31", "pruned"),
        ("20 trials ended without a better one", "pruned"),
        ("the network's output is not finite; try a lower learning rate", "infeasible"),
        ("the network has lost its inverse", "infeasible"),
    ):
        fake.end("made/trial-000", "pruned", reason, spoiled=outcome == "infeasible")
        facts = Facts(history=fake.history(), space=space, objectives=PSNR)
        assert facts.outcome(facts.trials[0]) == outcome, reason


def test_refused_suggestions_and_faults_are_told(space: SearchSpace) -> None:
    fake = Fake(space)
    fake.trial()
    refused = {"event": "refuse", "suggestion": {}, "reason": "9 parameters; wanted 3"}
    fake.events += [refused | {"time_ms": BEGAN_MS + number} for number in range(5)]
    fake.end("made/trial-000", "failed", "machine fault")
    warnings = explained(fake.history(), space).conclusion.warnings
    assert any(text.startswith("5 of 6 suggestions were refused") for text in warnings)
    assert any("Faults of the machine ended 1 of 1" in text for text in warnings)


def test_what_restarts_lost_is_apart_from_what_trials_took(space: SearchSpace) -> None:
    fake = Fake(space)
    name = fake.trial()
    before = Facts(history=fake.history(), space=space, objectives=PSNR).budget
    lost = {"event": "restart", "trial": name, "step": 150, "lost_seconds": 4.0}
    fake.events.append(lost | {"time_ms": BEGAN_MS + 900})
    after = Facts(history=fake.history(), space=space, objectives=PSNR).budget
    assert after.lost_seconds == 4.0
    assert sum(after.seconds.values()) + 4 == pytest.approx(sum(before.seconds.values()))
    assert after.steps == before.steps


# ------------------------------------------------------------------ every odd case is a whole page


ODD: dict[str, tuple[int, dict[str, Any]]] = {
    "no trial": (0, {}),
    "one trial": (1, {"floor": (None, "no memory")}),
    "three trials": (3, {"floor": (29.5, "")}),
    "all diverged": (6, {"spoils": lambda _: True}),
    "all alike": (6, {"value": lambda *_: 30.0, "halving": False}),
    "far outliers": (9, {"value": lambda s, *_: -1e4 if s["model.blocks"] == 1 else 30.0}),
}
FRONTS = ("one trial", "far outliers")
"""Cases that are drawn for several objectives, too."""


@pytest.mark.parametrize(
    ("case", "objectives"),
    [*((case, PSNR) for case in ODD), *((case, TWO[::-1]) for case in FRONTS)],
    ids=[*ODD, *(f"{case}, two objectives" for case in FRONTS)],
)
def test_a_report_is_whole(
    case: str, objectives: Sequence[Objective], space: SearchSpace, tmp_path: Path
) -> None:
    trials, more = ODD[case]
    found = explained(searched(space, trials, **more), space, objectives)
    page = write_explanation(found, tmp_path / "report")
    text = page.read_text()
    assert "</html>" in text
    words = re.sub(r"base64,[^\"]*", "", text).replace("loss is nan", "")
    assert not re.search(r"\b(nan|inf|None)\b", words)
    pictures = {path.stem for path in page.parent.glob("*.png")}
    assert text.count("data:image/png;base64,") == len(pictures)
    assert pictures <= set(PICTURES)
    assert ("slices" in pictures) == bool(found.facts.final)
    record = json.loads((page.parent / "report.json").read_text(), parse_constant=pytest.fail)
    assert record == json.loads(json.dumps(found.record, allow_nan=False))
    table = (page.parent / "trials.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["trial"] for row in rows] == [trial.name for trial in found.facts.trials]
    assert {"state", "reason", "steps", "seconds", "restarts", "model.clamp"} <= set(
        table.splitlines()[0].split(",")
    )
    assert not list(tmp_path.glob(".*"))


def test_several_objectives_have_a_front(space: SearchSpace) -> None:
    found = explained(searched(space, 20, halving=False), space, TWO)
    front = found.record["front"]
    assert len(front) >= 2
    fastest = min(own[1] for own in found.facts.values.values())
    assert fastest in {one["values"]["step_seconds"] for one in front}
    assert found.facts.best is not None
    assert found.facts.best.name in {one["trial"] for one in front}


def test_a_running_search_says_so(space: SearchSpace, tmp_path: Path) -> None:
    fake = Fake(space)
    for _ in range(5):
        fake.trial()
    cut = sorted(fake.events, key=lambda event: event["time_ms"])[:-9]
    found = explained(replay("made", cut), space)
    assert "has not ended" in found.conclusion.lines[0]
    assert found.facts.outcomes["running"]
    assert found.conclusion.warnings[0].startswith("The search has not ended")
    write_explanation(found, tmp_path / "report")


def test_what_comes_from_outside_is_only_text(space: SearchSpace, tmp_path: Path) -> None:
    hostile = '</title><script>alert("x")</script>\n=cmd|"&'
    fake = Fake(space, spoils=lambda _: True)
    for _ in range(5):
        fake.end(f"made/{fake.trial()}", "pruned", hostile)
    fake.end("made", "failed", hostile)
    page = write_explanation(explained(fake.history(), space), tmp_path / "report")
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    (row, *_) = csv.DictReader(io.StringIO((page.parent / "trials.csv").read_text()))
    assert row["reason"] == '</title><script>alert("x")</script> =cmd|"&'


def test_parameters_that_no_trial_with_a_value_moved_explain_nothing(
    tmp_path: Path, space: SearchSpace
) -> None:
    """A branch of the space may have diverged altogether, and left one value of its choice."""
    path = tmp_path / "branch.yaml"
    path.write_text(
        "base: invertible\nparameters: {model.coupling: {choice: [additive, two-sided]},"
        " model.clamp: {float: [0.4, 2.0], when: {model.coupling: two-sided}}}"
    )
    fake = Fake(space, spoils=lambda _: False, halving=False)
    for number in range(8):
        fake.trial(space.start() | {"model.coupling": "two-sided", "model.clamp": 0.5 + number / 8})
    found = explained(fake.history(), load_space(str(path)))
    rows = {row.key: row for row in found.importances.rows}
    assert (rows["model.coupling"].share, rows["model.coupling"].chance) == (0.0, 0.0)
    assert not rows["model.coupling"].matters
    assert rows["model.clamp"].share > 0


@pytest.mark.usefixtures("whole_forests")
def test_two_thousand_trials_are_drawn_within_reason(space: SearchSpace, tmp_path: Path) -> None:
    history = searched(space, 2000)
    begun = time.process_time()
    page = write_explanation(explained(history, space, TWO), tmp_path / "report")
    assert time.process_time() - begun < 60
    assert page.stat().st_size < 8e6


# ------------------------------------------------------------------ files and the command


@pytest.fixture
def workspace(space: SearchSpace, tmp_path: Path) -> Path:
    """A workspace with the search ``made``, its event log written by the event log itself."""
    fake = Fake(space)
    for _ in range(4):
        fake.trial()
    fake.end("made", "finished")
    event_log = EventLog(tmp_path / "workspace" / "searches" / "made" / "ledger.jsonl")
    for event in sorted(fake.events, key=lambda event: event["time_ms"]):
        event_log.append(event)
    return tmp_path / "workspace"


def test_a_report_is_written_from_a_ledger_and_replaces_an_older_one(workspace: Path) -> None:
    folder, out = workspace / "searches" / "made", workspace / "report"
    page = write_report(folder, out)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "pareto.png").write_bytes(b"of another report")
    assert write_report(folder, out) == page
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert {path.name for path in workspace.iterdir()} == {"searches", "report"}


def test_reports_that_are_written_at_the_same_time_do_not_meet(
    space: SearchSpace, tmp_path: Path
) -> None:
    found, out = explained(searched(space, 4), space), tmp_path / "report"
    pages: list[Path] = []

    def meanwhile(what: str, done: int, total: int) -> None:
        if not pages:
            pages.append(write_explanation(found, out))

    pages.append(write_explanation(found, out, meanwhile))
    assert pages == [out / "report.html"] * 2
    assert {"report.html", "trials.csv", "report.json"} < {path.name for path in out.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"made.yaml", "report"}


def test_a_folder_with_other_files_is_left_alone(workspace: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("words")
    with pytest.raises(InputError, match="in the way"):
        write_report(workspace / "searches" / "made", mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_a_report_among_other_files_is_left_alone_with_them(
    workspace: Path, tmp_path: Path
) -> None:
    folder, out = workspace / "searches" / "made", tmp_path / "mine"
    write_report(folder, out)
    (out / "thesis.txt").write_text("words")
    with pytest.raises(InputError, match=r"in the way; got thesis\.txt"):
        write_report(folder, out)
    assert (out / "thesis.txt").read_text() == "words"
    assert (out / "report.html").is_file()


def test_a_report_is_written_where_one_stands(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, out, err = run("report", "made", "--out", ".", "--quiet", "--workspace", workspace)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "report: report.html"
    assert (tmp_path / "here" / "report.html").is_file()


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_the_conclusion_and_the_page(workspace: Path) -> None:
    code, out, err = run("report", "made", "--quiet", "--workspace", workspace)
    assert (code, err) == (0, "")
    assert out.startswith("Search made finished: 4 trials")
    page = workspace / "searches" / "made" / "report" / "report.html"
    assert "doubt: Few trials" in out
    assert out.splitlines()[-1] == f"report: {page}"
    assert page.is_file()


def test_the_command_prints_json(workspace: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    code, out, _ = run("report", "made", "--json", "--out", target, "--workspace", workspace)
    assert code == 0
    record = json.loads(out, parse_constant=pytest.fail)
    assert record["report"] == str(target / "report.html")
    assert {"best", "importances", "budget", "states", "gain", "warnings"} <= set(record)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("other", "one of made"), ("../searches/made", "one of made"), ("", "a value")],
)
def test_an_unknown_name_is_refused_with_those_that_exist(
    workspace: Path, name: str, wanted: str
) -> None:
    code, out, err = run("report", name, "--workspace", workspace)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"wanted {wanted}" in err
    assert not (workspace / "searches" / "made" / "report").exists()


def test_a_workspace_without_searches_is_not_made(tmp_path: Path) -> None:
    code, _, err = run("report", "made", "--workspace", tmp_path / "none")
    assert code == 2
    assert "try dtsinn search" in err
    assert not (tmp_path / "none").exists()
