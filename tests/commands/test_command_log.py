"""The log of every command: what it keeps, what it never keeps, and that it breaks nothing."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dtsinn.cli import app
from dtsinn.commands.command_log import HIDDEN, MOST_LOGS, CommandLog, redact_command_line
from dtsinn.commands.options import Debug
from dtsinn.core.version import collect_versions
from dtsinn.core.workspace import Workspace

GROUP = typer.main.get_command(app)
NAME = "Musterfrau"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in the folder in which commands run, in which something was written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Workspace(tmp_path / "dtsinn-workspace")
    made.runs.mkdir(parents=True)
    return made


def run(*arguments: str | Path, at: typer.Typer = app) -> Result:
    return CliRunner().invoke(at, [str(argument) for argument in arguments])


def logs(workspace: Workspace) -> list[Path]:
    return sorted(workspace.logs.glob("*")) if workspace.logs.exists() else []


def log_of(workspace: Workspace) -> str:
    (path,) = logs(workspace)
    return path.read_text(encoding="utf-8")


def failing(error: BaseException) -> typer.Typer:
    """A command line of one command that fails, and that logs as dtsinn's does."""
    made = typer.Typer(cls=type(GROUP))

    @made.command()
    def fail(place: str = "", debug: Debug = False) -> None:
        try:
            raise ValueError(f"inside {place}")
        except ValueError:
            raise error from None

    @made.command()
    def other() -> None: ...

    return made


def test_a_log_says_what_ran_with_which_versions_and_how_it_ended(workspace: Workspace) -> None:
    assert run("tracers", "--json").exit_code == 0
    (path,) = logs(workspace)
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}\.\d{{3}}Z-tracers-{os.getpid()}\.log", path.name)
    first, second, last = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ dtsinn tracers --json", first)
    assert all(f"{name} {version}" in second for name, version in collect_versions().items())
    assert re.search(r"Z exit code 0 after [\d.]+ s$", last)


def test_a_log_is_of_its_owner_alone(workspace: Workspace) -> None:
    before = os.umask(0)
    try:
        run("tracers")
    finally:
        os.umask(before)
    assert workspace.logs.stat().st_mode & 0o777 == 0o700
    assert logs(workspace)[0].stat().st_mode & 0o777 == 0o600


def test_the_traceback_that_the_terminal_does_not_show_is_kept(workspace: Workspace) -> None:
    result = run("fail", at=failing(KeyError("x")))
    (path,) = logs(workspace)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    told = path.read_text(encoding="utf-8")
    assert re.search(r"test_command_log\.py:\d+ in fail: raise ValueError\(", told)
    assert told.index("builtins.ValueError: inside") < told.index("which led to")
    assert told.index("which led to") < told.index("builtins.KeyError: 'x'")
    assert told.splitlines()[-1].partition(" ")[2].startswith("exit code 1 after")


def test_an_unexpected_end_says_where_its_log_is_and_a_refusal_does_not(
    workspace: Workspace,
) -> None:
    said = run("fail", at=failing(KeyError("x"))).stderr
    (path,) = logs(workspace)
    place = path.relative_to(Path.cwd())
    assert said.startswith("dtsinn: a bug of dtsinn; got KeyError: 'x'")
    assert f"; details in {place}; try the command again" in said
    assert said.count("\n") == 1
    assert "details" not in run("info", "nowhere.zarr").stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("search /data/x.zarr --space quick --trials 8 --name x --set a=1",
         "search … --space quick --trials 8 --name … … …"),
        ("train a.zarr b.zarr --set=model.blocks=3 --init ref/3 --device cuda:1 -q",
         "train … … --set model.blocks=3 --init … --device cuda:1 -q"),
        ("search s --space mine.yaml --seed -3 --seed Anna --cluster host:1",
         "search … --space … --seed -3 --seed … --cluster …"),
        ("import 4711 o --from dicom --map 12345 --plan p",
         "import … … --from dicom --map … --plan …"),
        ("registry copy --to http://me:secret@h:1 --json", "registry copy --to … --json"),
        ("models show best --Anna", "models … … …"),
        ("simulate o --subjects 4 --noise mid --tracers fmz,/Anna/x",
         "simulate … --subjects 4 --noise mid --tracers …"),
        ("simulate o --tracers Anna.YAML,fdg --size 8", "simulate … --tracers … --size 8"),
        ("store out", "… …"),
    ],
)  # fmt: skip
def test_of_a_command_line_only_what_is_dtsinns_own_is_told(words: str, wanted: str) -> None:
    assert redact_command_line(GROUP, words.split())[1] == f"dtsinn {wanted}"  # type: ignore[arg-type]


def every_command(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inside = getattr(group, "commands", None)
    if inside is None:
        return [path]
    return [one for name in inside for one in every_command(inside[name], (*path, name))]


@pytest.mark.parametrize("path", every_command(GROUP), ids=" ".join)
def test_no_option_of_any_command_tells_a_path_or_a_name(path: tuple[str, ...]) -> None:
    command = GROUP
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    secret = f"/data/{NAME}/x.nii"
    for parameter in command.params:
        for option in [name for name in parameter.opts if name.startswith("-")]:
            for words in ([option, secret], [f"{option}={secret}"], [secret]):
                name, line, hidden = redact_command_line(GROUP, [*path, *words])  # type: ignore[arg-type]
                assert name == "-".join(path)
                assert NAME not in line
                assert {secret, NAME} < set(hidden)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_no_name_of_an_import_gets_into_its_log(workspace: Workspace, kind: str) -> None:
    """A plan, folders and files that name subjects, refused at several depths."""
    folder = Path(NAME)
    folder.mkdir()
    image = {"image": f"{NAME}.nii", "injection_time": [0, 600]}
    subject = {"id": NAME, "mixture": {"series" if kind == "dicom" else "image": image["image"]}}
    for plan in (None, "{", {"subjects": [subject]}, {"tracers": ["fmz", "fdg"], NAME: 1}):
        path = folder / "plan.yaml"
        if plan is not None:
            path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
        result = run("import", path, folder / "out.zarr", "--from", kind, "--map", f"{NAME}.json")
        assert result.exit_code == 2
    assert len(logs(workspace)) == 4
    for path in logs(workspace):
        told = path.read_text(encoding="utf-8")
        assert NAME not in path.name + told
        assert f"dtsinn import … … --from {kind} --map …" in told
        assert "in import_: " in told
        assert re.search(r"^dtsinn\.core\.errors\.InputError$", told, re.MULTILINE)


def test_no_name_in_a_path_gets_into_the_log_of_another_command(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.cwd() / f"{NAME} Anna"
    home.mkdir()
    monkeypatch.chdir(home)
    where = "--workspace", str(workspace.root)
    run("train", f"{NAME} 1/brain.zarr", "--name", NAME, *where)
    run("report", NAME, *where)
    run("evaluate", "--model", f"{NAME}/3", *where)
    opened = PermissionError(13, "Permission denied", str(home / "x" / "y.nii"))
    run("fail", "--place", f"{NAME} 1", at=failing(opened))
    told = [path.read_text(encoding="utf-8") for path in logs(workspace)]
    assert len(told) == 3  # the last one has no workspace
    assert all("dtsinn.core.errors." in text for text in told)
    assert NAME not in "".join(told)
    assert "Anna" not in "".join(told)


def test_messages_are_kept_without_paths_and_passwords(workspace: Workspace) -> None:
    kept = CommandLog(GROUP, ["report", "first"])  # type: ignore[arg-type]
    with kept:
        logging.getLogger("dtsinn.search.run").warning(
            "no pictures of first: %s: 3 of 4; got C:\\Anna x; wanted './a b/c'", "/An na/x y"
        )
        kept.log_failure(OSError("postgresql://me:secret@host/base: it is gone"))
    told = log_of(workspace)
    assert "WARNING dtsinn.search.run: no pictures of …: …: 3 of 4; got …; wanted …\n" in told
    assert "builtins.OSError: …: it is gone" in told
    assert "secret" not in told


def test_a_record_reaches_the_terminal_as_without_a_log(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import logging, sys; from dtsinn.commands.command_log import CommandLog\n"
        "from dtsinn.cli import app; import typer\n"
        "group = typer.main.get_command(app)\n"
        "with CommandLog(group, ['report', 'x']):\n"
        "    logging.getLogger('dtsinn.search').warning('once %s', 'only')\n"
        "    logging.getLogger('dtsinn.search').info('never')\n"
        "    logging.basicConfig(format='%(message)s!')\n"
        "    logging.getLogger('dtsinn.search').warning('through another')\n"
        "logging.getLogger('dtsinn.search').warning('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "once only\nthrough another!\nafter!\n"
    assert log_of(workspace).count("WARNING dtsinn.search: ") == 2


@pytest.mark.parametrize("words", [["tracers"], ["models"], ["status"], ["--version"], []])
def test_no_log_makes_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    run(*words)
    if words in (["models"], ["status"]):  # an empty folder of the user's is no workspace either
        run(*words, "--workspace", "mine")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine"]


def test_help_is_not_logged(workspace: Workspace) -> None:
    for words in ([], ["--help"], ["search", "--help"], ["registry", "copy", "--help"]):
        run(*words)
    assert logs(workspace) == []


def test_a_log_begins_when_the_command_makes_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(Path("new"))
    with CommandLog(GROUP, ["train", "x.zarr", "--workspace=new"]):  # type: ignore[arg-type]
        assert not workspace.root.exists()
        workspace.runs.mkdir(parents=True)
        logging.getLogger("dtsinn").warning("begun")
        assert "dtsinn train … --workspace …" in log_of(workspace)
    assert "exit code 0" in log_of(workspace)


def test_old_logs_are_pruned(workspace: Workspace) -> None:
    workspace.logs.mkdir()
    for number in range(MOST_LOGS + 5):
        (workspace.logs / f"20200101T{number:06d}.000Z-train-1.log").touch()
    (workspace.logs / "notes.txt").touch()
    run("tracers")
    found = logs(workspace)
    assert len(found) == MOST_LOGS + 1
    assert found[0].name == "20200101T000006.000Z-train-1.log"
    assert found[-1].name == "notes.txt"
    assert "-tracers-" in found[-2].name


def test_a_log_has_a_most_length_and_room_for_its_end(workspace: Workspace) -> None:
    with CommandLog(GROUP, ["report", "x"]) as kept:  # type: ignore[arg-type]
        for _ in range(30):
            logging.getLogger("dtsinn").error("y" * 50_000)
        kept.log_failure(KeyError("the end"))
    told = log_of(workspace)
    assert 2**19 < len(told.encode()) < 2**20
    assert "builtins.KeyError: 'the end'\n" in told
    assert "exit code 0" in told


def test_a_log_that_is_deleted_is_not_made_anew_for_others_to_read(workspace: Workspace) -> None:
    with CommandLog(GROUP, ["report", "x"]):  # type: ignore[arg-type]
        logs(workspace)[0].unlink()
        logging.getLogger("dtsinn").error("lost")
    assert logs(workspace) == []


@pytest.mark.parametrize("why", ["a file", "a circle", "full"])
def test_a_log_that_cannot_be_written_breaks_no_command(workspace: Workspace, why: str) -> None:
    if why == "a file":
        workspace.logs.write_text("mine")
    elif why == "a circle":
        workspace.logs.symlink_to(workspace.logs)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if why == "full":  # no byte of any file can be written
        import signal

        handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        done = run("tracers")
        failed = run("fail", at=failing(KeyError("x")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if why == "full":
            signal.signal(signal.SIGXFSZ, handled)
    assert (done.exit_code, done.stderr) == (0, "")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("dtsinn: a bug of dtsinn; got KeyError: 'x'")
    if why != "full":
        assert "details" not in failed.stderr
    assert HIDDEN not in failed.stderr
