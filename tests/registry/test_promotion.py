"""The gate and the aliases, with separators that are really better or worse."""

import json
import shutil

import pytest

from dtsinn.core.errors import InputError
from dtsinn.registry.gate.comparison import round_trip_error
from dtsinn.registry.gate.config import GateConfig, load_gate
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.versions import find_alias, get_version, list_models

NAME = "dtsinn-fmz-fdg-p1"
CONFIG = GateConfig(suite=None)


def alias(tracker, name, of=NAME):
    found = find_alias(tracker, of, name)
    return found.version if found else None


def names_of(checks):
    return {check.name for check in checks}


def test_the_shipped_gate_is_the_default():
    assert load_gate() == GateConfig()
    with pytest.raises(InputError, match="min_subjects"):
        GateConfig(min_subjects=1)


def test_first_better_and_worse(tracker, workspace, registered, packages, store):
    weak, strong = registered(packages.weak), registered(packages.strong)

    first = promote(tracker, workspace, weak, store, CONFIG)
    assert (first.verdict, first.against, first.subjects) == ("passed", f"{NAME}/3", 12)
    assert first.first_champion == f"{NAME}/3"
    assert "registered as the first champion" in first.lines()[0]
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (1, 3)

    trial = promote(tracker, workspace, strong, store, CONFIG, dry_run=True)
    assert trial.verdict == "passed"
    assert alias(tracker, "champion") == 1
    assert "gate.verdict" not in get_version(tracker, NAME, 2).tags

    second = promote(tracker, workspace, strong, store, CONFIG)
    assert (second.verdict, second.against) == ("passed", f"{NAME}/1")
    assert second.difference.low > 0
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (2, 1)

    again = promote(tracker, workspace, strong, store, CONFIG)
    assert again.verdict == "unchanged"
    assert "nothing to do" in again.lines()[0]
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (2, 1)

    back = promote(tracker, workspace, weak, store, CONFIG)
    assert back.verdict == "refused"
    assert "better" in names_of(back.failures)
    assert back.lines()[-1].startswith(f"{NAME}/1 is refused against {NAME}/2: better")
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (2, 1)

    floor, newest, oldest = list_models(tracker)
    assert floor.tags["gate.verdict"] == "first champion"
    assert newest.tags["gate.verdict"] == "promoted"
    assert newest.tags["gate.against"] == f"{NAME}/1"
    assert oldest.tags["gate.verdict"] == "refused"
    assert oldest.tags["gate.failed"].startswith("FAIL better")
    kept = workspace.artifacts / newest.run_id / "artifacts" / "gate"
    file, page = sorted(kept.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert "passes the gate against dtsinn-fmz-fdg-p1/1" in page.read_text()
    written = json.loads(file.read_text())
    assert (written["verdict"], len(written["per_subject"])) == ("passed", 12)
    assert {"files", "lineage", "evidence", "better", "round trip", "ONNX parity"} <= {
        check["name"] for check in written["checks"]
    }


def test_the_floor_is_not_beaten_by_itself(tracker, workspace, registered, packages, store):
    report = promote(tracker, workspace, registered(packages.untrained), store, CONFIG)
    assert names_of(report.failures) == {"better"}
    assert alias(tracker, "champion") == 2


def test_too_few_subjects_are_no_evidence(tracker, workspace, registered, packages, small_store):
    report = promote(tracker, workspace, registered(packages.strong), small_store, CONFIG)
    assert names_of(report.failures) == {"evidence"}
    assert report.difference.low > 0
    assert alias(tracker, "champion") == 2


def test_a_rival_needs_no_inverse(tracker, workspace, registered, rival, store):
    report = promote(tracker, workspace, registered(rival), store, CONFIG)
    assert report.passed, report.lines()
    (round_trip,) = [check for check in report.checks if check.name == "round trip"]
    assert (round_trip.value, round_trip.passed) == ("not applicable", True)
    assert round_trip.detail == "this network has no inverse"
    assert alias(tracker, "champion") == 1


def test_the_round_trip_of_padded_slices_is_that_of_the_rest(squeezed, store):
    mixture = next(store.subjects("gate")).mixture_NTYX[..., :15, :13]
    error = round_trip_error(squeezed, mixture, squeezed.separate(mixture))
    assert 0 < error <= CONFIG.round_trip_limit


def test_incomplete_lineage_is_refused(tracker, workspace, registered, store, orphan):
    report = promote(tracker, workspace, registered(orphan), store, CONFIG)
    assert names_of(report.failures) == {"lineage"}
    assert "code_version" in report.failures[0].line()


def test_limits_are_honoured(tracker, workspace, registered, packages, store):
    strict = GateConfig(suite=None, round_trip_limit=1e-12, onnx_parity_limit=1e-12)
    report = promote(tracker, workspace, registered(packages.weak), store, strict)
    assert names_of(report.failures) == {"round trip", "ONNX parity"}


def test_under_another_name(tracker, workspace, registered, packages, store):
    version = registered(packages.weak)
    report = promote(tracker, workspace, version, store, CONFIG, name="ours")
    assert report.passed
    assert alias(tracker, "champion") is None
    leader, floor = (find_alias(tracker, "ours", name) for name in ("champion", "previous"))
    assert (leader.version, floor.version, report.against) == (2, 1, "ours/1")
    assert (leader.digest, leader.run_key) == (version.digest, version.run_key)
    assert leader.tags["gate.verdict"] == "promoted"


def test_two_processes_promote_one_after_the_other(
    tracker, workspace, registered, packages, store, tmp_path, forks
):
    promote(tracker, workspace, registered(packages.weak), store, CONFIG)
    versions = [registered(packages.strong), registered(packages.stronger)]  # after the floor
    path = tmp_path / "store.zarr"
    shutil.copytree(store.header.path, path)
    code = (
        "import sys; from pathlib import Path\n"
        "from dtsinn.core.workspace import Workspace\n"
        "from dtsinn.data.store import open_store\n"
        "from dtsinn.registry.gate.config import GateConfig\n"
        "from dtsinn.registry.references import find_version\n"
        "from dtsinn.registry.promotion.promotion import promote\n"
        "from dtsinn.registry.tracking.tracker import connect\n"
        "space = Workspace(Path(sys.argv[1])); tracker = connect(space)\n"
        "promote(tracker, space, find_version(sys.argv[3], tracker), open_store(sys.argv[2]),"
        " GateConfig(suite=None))\n"
    )
    jobs = [forks.python(code, workspace.root, path, version.ref) for version in versions]
    for job in jobs:
        out, err = job.communicate(timeout=120)
        assert (job.returncode, out) == (0, ""), err
    by_number = {v.version: v for v in list_models(tracker)}
    assert alias(tracker, "champion") == 4
    decided_against = by_number[4].tags["gate.against"]
    # Whoever came first, each decision was taken against the champion of its moment.
    if by_number[3].tags["gate.verdict"] == "promoted":
        assert (decided_against, alias(tracker, "previous")) == (f"{NAME}/3", 3)
    else:
        assert (decided_against, alias(tracker, "previous")) == (f"{NAME}/1", 1)
        assert by_number[3].tags["gate.against"] == f"{NAME}/4"
