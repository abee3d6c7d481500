"""Tags that anybody may have written: read as data, whatever stands there, by every command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.entities.model_registry import ModelVersionTag
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.commands.registry import _row
from dtsinn.core.display import printable
from dtsinn.core.errors import DtsinnError
from dtsinn.registry.copying.copy import copy_registry
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.lineage import show_model
from dtsinn.registry.promotion.alias_transaction import HISTORY, MOVING, history, recover
from dtsinn.registry.promotion.lock import LOCK, promotion_lock
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.references import fetch, find_version
from dtsinn.registry.registration import register
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.trials import find_recorded_search
from dtsinn.registry.versions import _read_version, list_models

NAME = "dtsinn-fmz-fdg-p1"
CONFIG = GateConfig(suite=None)

POISONS = {
    "empty": "",
    "superscript": "²",
    "huge integer": "1" + 400 * "0",
    "negative": "-1",
    "no number": "NaN",
    "infinite": json.dumps({"psnr": float("inf"), "number": float("inf"), "version": 1e999}),
    "metric of 400 digits": '{"psnr": 1' + 400 * "0" + ', "val_psnr": 31.5}',
    "interval of 400 digits": "[1" + 400 * "0" + ", 1, 2]",
    "nested": 4000 * "[",
    "wrong types": '{"version": [1], "what": {}, "before": "x", "number": "²", "tags": 3}',
    "half a line": '{"version": 1}',
    "path": "/../../x",
    "URL": "http://127.0.0.1:1/x",
    "filter": "' OR '1' = '1",
    "escape": "\x1b[2J\x1b]0;gone\x07[red]",
    "lines": "one\ntwo\r\u2028three\u202e",
    "long": 4000 * "x",
}
"""What somebody writes."""
OF_VERSIONS = (
    "dtsinn.digest", "dtsinn.run_key", "dtsinn.metrics", "dtsinn.logged_model", "dtsinn.created",
    "dtsinn.copied", "gate.psnr", "gate.verdict", "gate.against", "search", "trial", "seed",
    "bytes", "store.path", "store.digest", "init", "code.version", "export.2026-01-01",
)  # fmt: skip
OF_RUNS = (
    "dtsinn.kind", "dtsinn.status", "dtsinn.begun", "dtsinn.ended", "store.path", "store.digest",
    "mlflow.parentRunId", "model.digest", "best_trial", "model",
)  # fmt: skip
OF_MODELS = (MOVING, f"{HISTORY}0001", f"{HISTORY}²", f"{LOCK}abc", "dtsinn.copied")


@pytest.fixture
def told(workspace):
    """Runs a command: it fails in one line at most, and nothing in it steers a terminal."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert all(line.isprintable() for line in done.output.splitlines())
        return done.output

    return run


def test_every_poison_in_every_tag_is_read_as_data():
    """Beside the command itself, of a version as MLflow would hand it over."""
    for (what, poison), key in itertools.product(POISONS.items(), OF_VERSIONS):
        tag = ModelVersionTag(key, poison)
        version = _read_version(MlflowVersion(NAME, "2", 1_000, tags=[tag]), {"champion": 2})
        row = _row(version)
        assert version.created == 1_000 or key == "dtsinn.created", (what, key)
        assert row[6].startswith("1970-01-01 "), (what, key)
        assert max(map(len, row)) < 120, (what, key)
        assert all(cell.isprintable() for cell in row), (what, key)
        assert (version.digest, version.ref) == ("", f"{NAME}/2"), (what, key)
        assert all(map(math.isfinite, version.metrics.values())), (what, key)


def test_no_tag_breaks_a_command(tracker, told, registered, packages):
    """Every key that a command reads, each with another poison, beside a version without."""
    clean, poisoned = registered(packages.untrained), registered(packages.weak)
    poisons = list(POISONS.values())
    for first in (0, 6, 12):

        def tags(keys, first=first):
            return {key: poisons[(first + n) % len(poisons)] for n, key in enumerate(keys)}

        for key, value in tags(OF_VERSIONS).items():
            tracker.client.set_model_version_tag(NAME, "2", key, value)
        of_run = [RunTag(key, value) for key, value in tags(OF_RUNS).items()]
        tracker.client.log_batch(poisoned.run_id, tags=of_run)
        for key, value in tags(OF_MODELS).items():
            tracker.client.set_registered_model_tag(NAME, key, value)
        rows = told("models").splitlines()
        refs = [row.split()[0] for row in rows if not row.startswith(f"{NAME}:")]
        assert refs == ["model", poisoned.ref, clean.ref]
        assert poisoned.ref in told("models", "show", poisoned.ref)
        found = list_models(tracker)
        assert found[1] == dataclasses.replace(clean, tags=found[1].tags)
        assert history(tracker, NAME) == []
        with promotion_lock(tracker, NAME) as held:
            assert MOVING not in tracker.client.get_registered_model(NAME).tags
            assert recover(held) == ""
        assert find_recorded_search(tracker, "search/weak") is None
        tracker.end("search/weak", "finished", 10_000)
    for what in ("path", "filter", "escape"):
        tracker.client.set_tag(poisoned.run_id, "dtsinn.key", POISONS[what])
        assert show_model(poisoned.ref, tracker)["run"]["key"] == ""
    assert clean.ref in told("models", "show", clean.ref)


def test_a_digest_is_never_a_folder(tracker, workspace, registered, packages, tmp_path):
    version = registered(packages.weak)
    for poison in ("/../../x", "", 64 * "G", str(tmp_path / "x")):
        tracker.client.set_model_version_tag(NAME, "1", "dtsinn.digest", poison)
        found = find_version(version.ref, tracker)
        with pytest.raises(DtsinnError, match=f"{NAME}/1 says no digest"):
            fetch(tracker, workspace, found)
        assert show_model(version.ref, tracker)["evaluations"] == []
    assert not (tmp_path / "x").exists()
    assert not (workspace.root.parent / "x").exists()


def test_a_poisoned_version_does_not_hold_up_the_others(
    tracker, workspace, registered, packages, store, begin, tmp_path
):
    first = registered(packages.weak)
    assert promote(tracker, workspace, first, store, CONFIG).passed
    poisoned = registered(packages.untrained)
    for key in OF_VERSIONS:
        number = str(poisoned.version)
        tracker.client.set_model_version_tag(NAME, number, key, POISONS["wrong types"])
    for key in (MOVING, f"{HISTORY}²", f"{HISTORY}0999"):
        tracker.client.set_registered_model_tag(NAME, key, POISONS["wrong types"])
    begin("search/c")
    third = register(tracker, packages.strong, run_key="search/c")
    assert promote(tracker, workspace, third, store, CONFIG).passed
    told = [line["what"] for line in history(tracker, NAME)]
    assert told == ["made first champion", "promoted", "promoted"]
    assert roll_back(tracker, workspace, NAME)[0].version == first.version
    assert poisoned.ref in [version.ref for version in list_models(tracker)]
    report = copy_registry(tracker, workspace, f"sqlite:///{tmp_path}/copy.db")
    assert report.equal, [row for row in report.rows if not row.equal]


def test_what_tags_can_say():
    """The values that stay what they are, and the least of those that do not."""
    read = {"t": "17", "m": '{"psnr": 30.5, "n": 3, "no": true, "nan": NaN, "s": "1"}'}
    assert tagged.natural(read, "t") == 17
    assert tagged.natural(read, "t", most=16) == 0
    assert tagged.moment({"t": str(tagged.LATEST_ms + 1)}, "t", 5) == 5
    assert tagged.numbers(read, "m") == {"psnr": 30.5, "n": 3.0}
    assert tagged.interval({"g": "[1, 0.5, 2]"}, "g") == (1, 0.5, 2, None), "as 0.1.0 wrote it"
    assert tagged.interval({"g": "[1, 0.5, 2, 12]"}, "g") == (1, 0.5, 2, 12)
    assert tagged.interval({"g": "[1, null, null, 2]"}, "g") == (1, None, None, 2)
    wrong = ["[1, 2]", "[1, 2, true]", "[1, 2, Infinity]", "{}", "[1,2,3,4,5]", "[1,2,3,-4]"]
    for odd in (*wrong, "[1,2,3,0.5]", "[1, null, 2, 3]", "[null, 1, 2, 3]", "[1,2,3,true]", "[]"):
        assert tagged.interval({"g": odd}, "g") is None
    for path in ("/data/a b@c.zarr", "s3://bucket/a.zarr", "brain.zarr", "C: drive.zarr"):
        assert tagged.store_path({"p": path}, "p") == path
    for path in ("http://h/a", "sftp://h/a", "simplecache::s3://b/a", "a\nb", "", "s3://http://h"):
        assert tagged.store_path({"p": path}, "p") == ""
    assert printable("a\tb\n\x1b[1m\ud800\u202ec") == "a b \ufffd[1m\ufffd\ufffdc"
