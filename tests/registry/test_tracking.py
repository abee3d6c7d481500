"""Runs in a real embedded MLflow: idempotent, resumable, with the right ends."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow.entities import ViewType

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import Point, RunStart, Tracker
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import expand_home_uri, tracking_uri
from dtsinn.registry.tracking.tracker import connect, connect_existing


def start(key="search/a", **more):
    settings = {"name": "a", "kind": "trial", "experiment": "fmz-fdg", "time_ms": 1_000}
    return RunStart(key=key, **{**settings, **more})


def run_of(tracker, key):
    return tracker.client.get_run(tracker.run_id(key))


def test_is_a_tracker(tracker):
    implements: Tracker = tracker
    assert implements is tracker


def test_records_a_run(tracker, workspace, tmp_path):
    tags = {"store.path": "/data/gate.zarr", "store.digest": "ab" * 32, "seed": "3"}
    tracker.begin(
        start(
            parameters={"model.blocks": 2, "loss.structure": None, "data.flip": True},
            tags=tags,
            description="What it is.",
        )
    )
    tracker.report("search/a", [Point(step=5, metrics={"psnr": 30.25, "loss": 0.5}, time_ms=2_000)])
    (tmp_path / "card.md").write_text("hello")
    tracker.artifact("search/a", tmp_path / "card.md", "texts")
    tracker.end("search/a", "finished", 3_000, {"reason": "budget"})

    run = run_of(tracker, "search/a")
    assert run.info.run_name == "a"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1_000, 3_000)
    assert run.data.params == {"model.blocks": "2", "loss.structure": "null", "data.flip": "true"}
    assert run.data.metrics == {"psnr": 30.25, "loss": 0.5}
    assert (tags | {"store.path": "gate.zarr"}).items() <= run.data.tags.items()
    assert run.data.tags["mlflow.note.content"] == "What it is."
    assert run.data.tags["dtsinn.kind"] == "trial"
    assert run.data.tags["reason"] == "budget"
    assert run.inputs.dataset_inputs[0].dataset.name == "gate.zarr"
    assert (
        workspace.artifacts / run.info.run_id / "artifacts/texts/card.md"
    ).read_text() == "hello"
    assert run.info.run_id in tracker.run_url("search/a")


def test_events_sent_twice_change_nothing(tracker, workspace):
    def send():
        other = connect(workspace)  # without what the first one remembers
        other.begin(start(tags={"store.digest": "ab"}, parameters={"lr": 0.1}))
        metrics = {"psnr": 20.0, "loss": float("nan")}
        other.report("search/a", [Point(step=1, metrics=metrics, time_ms=1_500)])
        other.report("search/a", [Point(step=2, metrics={"psnr": 21.0}, time_ms=1_600)])
        other.end("search/a", "failed", 2_000, {"reason": "disk"})
        return run_of(other, "search/a")

    first, second = send(), send()
    assert first.to_dictionary() == second.to_dictionary()
    assert second.info.status == "FAILED"
    rows = tracker.client.get_metric_history(second.info.run_id, "psnr")
    assert [(row.step, row.value, row.timestamp) for row in rows] == [(1, 20, 1500), (2, 21, 1600)]
    experiments = [e.experiment_id for e in tracker.client.search_experiments()]
    assert len(tracker.client.search_runs(experiments, run_view_type=ViewType.ALL)) == 1


def test_a_known_key_is_continued_and_reopened(tracker):
    tracker.begin(start(parameters={"lr": 0.1}))
    tracker.end("search/a", "killed", 2_000)
    assert run_of(tracker, "search/a").info.status == "KILLED"
    tracker.begin(start(time_ms=3_000, parameters={"lr": 0.2, "steps": 10}))
    run = run_of(tracker, "search/a")
    assert run.info.status == "RUNNING"
    assert run.data.params == {"lr": "0.1", "steps": "10"}
    tracker.end("search/a", "killed", 2_000)  # the first end, sent again
    assert run_of(tracker, "search/a").info.status == "RUNNING"
    tracker.end("search/a", "finished", 4_000)
    tracker.begin(start())  # the first begin, sent again
    assert run_of(tracker, "search/a").info.status == "FINISHED"


def test_mlflow_is_told_no_folders_and_no_sixteen_digits(tracker, workspace):
    path = "/home/hans/Mueller, Grete/brain.zarr"
    tags = {"store.path": path, "store.digest": "ab" * 32, "space": "/home/hans/space.yaml"}
    rate = 0.00345678901234567
    tracker.begin(
        start(
            tags=tags,
            parameters={"lr": rate, "ema": 0.99995, "suite": "/home/hans/own suite.yaml"},
            description="On brain.zarr.",
        )
    )
    why = "/home/hans/x.zarr: sample 3, got 5 kBq/mL; try file:///home/hans/y.zarr or s3://b/c.zarr"
    tracker.report("search/a", [Point(step=1, metrics={"psnr": 100 / 3}, time_ms=2_000)])
    tracker.end("search/a", "failed", 3_000, {"reason": why})
    run = run_of(tracker, "search/a")
    assert run.data.tags["store.path"] == "brain.zarr"
    assert run.data.tags["space"] == "space.yaml"
    assert run.data.tags["reason"] == (
        "x.zarr: sample 3, got 5 kBq/mL; try y.zarr or s3://b/c.zarr"
    )
    assert run.data.params == {"lr": "0.00345679", "ema": "0.99995", "suite": "own suite.yaml"}
    assert run.data.metrics["psnr"] == 100 / 3  # what is measured is kept whole
    experiment = tracker.client.get_experiment(run.info.experiment_id)
    told = [*run.data.tags.values(), *experiment.tags.values()]
    told += [one.dataset.source for one in run.inputs.dataset_inputs]
    assert not [text for text in told if "hans" in text or "Mueller" in text]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [("finished", "FINISHED"), ("pruned", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED")],
)
def test_ends(tracker, status, wanted):
    tracker.begin(start())
    tracker.end("search/a", status, 2_000, {"reason": "why"})
    run = run_of(tracker, "search/a")
    assert run.info.status == wanted
    assert run.data.tags["dtsinn.status"] == status
    assert run.data.tags["reason"] == "why"


def test_children_know_their_parent_and_running_ones_are_found(tracker):
    tracker.begin(start("search", kind="search"))
    for key in ("search/a", "search/b", "search/c"):
        tracker.begin(start(key, parent="search"))
    tracker.begin(start("other"))
    tracker.end("search/b", "finished", 2_000)
    assert tracker.running("search") == ["search/a", "search/c"]
    child = run_of(tracker, "search/a")
    assert child.data.tags["mlflow.parentRunId"] == tracker.run_id("search")


def test_what_is_told_of_a_deleted_run_is_passed_over(tracker, workspace, tmp_path):
    (tmp_path / "card.md").write_text("hello")
    tracker.begin(start("search", kind="search"))
    tracker.begin(start(parent="search"))
    gone = tracker.run_id("search/a")
    tracker.client.delete_run(gone)
    for one in (tracker, connect(workspace)):  # one that knows its id, and one that looks for it
        one.begin(start(parent="search", tags={"store.digest": "ab"}))  # sent again
        one.report("search/a", [Point(step=1, metrics={"psnr": 20.0}, time_ms=1_500)])
        one.artifact("search/a", tmp_path / "card.md")
        one.end("search/a", "finished", 2_000)
        assert one.find_run("search/a") is None
        assert one.running("search") == []
        with pytest.raises(RunError, match="was deleted; got search/a"):
            one.run_id("search/a")
    run = tracker.client.get_run(gone)
    assert (run.info.lifecycle_stage, run.info.status, run.data.metrics) == (
        "deleted",
        "RUNNING",
        {},
    )
    tracker.begin(start(parent="search", time_ms=3_000))  # it is trained again
    assert tracker.run_id("search/a") == connect(workspace).run_id("search/a") != gone


def test_trials_of_a_search_whose_own_run_was_deleted_are_recorded(tracker, workspace):
    tracker.begin(start("search", kind="search"))
    parent = tracker.run_id("search")
    tracker.client.delete_run(parent)
    other = connect(workspace)
    other.begin(start(parent="search"))
    other.end("search", "finished", 2_000)
    assert run_of(other, "search/a").data.tags["mlflow.parentRunId"] == parent


def test_numbers_that_are_none_become_tags(tracker):
    tracker.begin(start())
    metrics = {"loss": float("inf"), "psnr": 3.0}
    tracker.report("search/a", [Point(step=7, metrics=metrics, time_ms=1_500)])
    run = run_of(tracker, "search/a")
    assert run.data.metrics == {"psnr": 3.0}
    assert run.data.tags["dtsinn.nonfinite.loss"] == "inf at step 7"


def test_long_values_and_many_parameters_fit_and_secrets_do_not(tracker):
    many = {f"p{i}": i for i in range(250)}
    hidden = {"s3.password": "hunter2", "store": "s3://me:hunter2@host/a.zarr"}
    tracker.begin(start(parameters={**many, **hidden, "long": "x" * 9_000}))
    tracker.begin(start(parameters={**many, **hidden, "long": "x" * 9_000}))
    params = run_of(tracker, "search/a").data.params
    assert len(params) == 253
    assert params["long"] == "x" * 5_997 + "..."
    assert params["store"] == "s3://host/a.zarr"
    assert "hunter2" not in str(params)


def test_a_uri_of_a_file_may_begin_at_home(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/m.db")
    assert tracking_uri(Workspace(tmp_path)) == "sqlite:////home/jane/m.db"
    for other in ("sqlite:////~/m.db", "http://lab/~jane", "postgresql://a@b/~"):
        assert expand_home_uri(other) == other


@pytest.mark.parametrize("key", ["", "../a", "a b", "a'b", "a%2e", "a#b", "a\nb", "a`b"])
def test_hostile_keys_are_refused(tracker, key):
    with pytest.raises(InputError, match="a run's key"):
        tracker.begin(start(key))


@pytest.mark.parametrize("folder", ["../up", "/abs", "a/../../b", "%2e%2e", "a#b"])
def test_hostile_artifact_folders_are_refused(tracker, tmp_path, folder):
    tracker.begin(start())
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="artifact folder"):
        tracker.artifact("search/a", tmp_path / "file", folder)


def test_links_that_leave_the_artifact_are_refused(tracker, tmp_path):
    tracker.begin(start())
    (tmp_path / "secret").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="link that leaves"):
        tracker.artifact("search/a", tmp_path / "out")
    with pytest.raises(InputError, match="missing"):
        tracker.artifact("search/a", tmp_path / "nothing")


def test_unknown_run_and_parent_are_one_line(tracker):
    with pytest.raises(RunError, match="no run was begun"):
        tracker.report("search/z", [Point(step=0, metrics={"a": 1.0}, time_ms=1)])
    with pytest.raises(RunError, match="no run was begun"):
        tracker.begin(start(parent="nowhere"))


def test_a_missing_workspace_is_not_made_by_a_reader(tmp_path):
    workspace = Workspace(tmp_path / "none")
    with pytest.raises(InputError, match=r"^no workspace at .*; try dtsinn search STORE$"):
        connect_existing(workspace)
    assert not workspace.root.exists()


def test_a_path_that_no_uri_carries_is_refused(tmp_path):
    with pytest.raises(InputError, match="workspace's path"):
        connect(Workspace(tmp_path / "a?b"))


def test_a_broken_database_is_one_line(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.database.write_text("this is no database, " * 100)
    with pytest.raises(RunError, match=r"^MLflow failed while opening .*not a database"):
        connect(workspace)


def test_mlflow_tracking_uri_wins(tmp_path, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.database}")
    elsewhere = Workspace(tmp_path / "elsewhere")
    tracker = connect(elsewhere)
    tracker.begin(start())
    assert not elsewhere.database.exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert connect(workspace).run_id("search/a") == tracker.run_id("search/a")


def test_threads_make_an_experiment_and_a_run_once(workspace):
    def work(number):
        connect(workspace).begin(start(experiment="new", time_ms=1_000 + number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(connect(workspace).search("tags.`dtsinn.key` = 'search/a'")) == 1


def test_processes_make_a_fresh_workspace_together_and_quietly(tmp_path, forks):
    code = (
        "import sys, warnings; from pathlib import Path\n"
        "warnings.simplefilter('default')\n"
        "from dtsinn.core.tracker import Point, RunStart\n"
        "from dtsinn.core.workspace import Workspace\n"
        "from dtsinn.registry.tracking.tracker import connect\n"
        "key = sys.argv[2]\n"
        "connect(Workspace(Path(sys.argv[1]))).begin(RunStart(key=key, name=key, kind='trial',"
        " experiment='x', time_ms=1))\n"
    )
    root = tmp_path / "fresh"
    jobs = [forks.python(code, root, key) for key in ("a", "b")]
    for job in jobs:
        out, err = job.communicate(timeout=120)
        assert (job.returncode, out) == (0, ""), err
        assert "INFO" not in err
        assert "WARNING" not in err
    runs = connect(Workspace(root)).search("")
    assert {run.data.tags["dtsinn.key"] for run in runs} == {"a", "b"}
