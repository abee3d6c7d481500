"""The command line as a user types it: help, answers, and errors in one line."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from scipy.io import savemat
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.commands.options import Debug
from dtsinn.core.config import config_names, from_mapping
from dtsinn.core.protocol import protocol_names
from dtsinn.core.tracer import Tracer, load_tracer, tracer_names
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.lock import driving
from dtsinn.search.plan import resume_command
from dtsinn.search.sampling.halving import SCHEDULERS
from dtsinn.search.sampling.samplers import SAMPLERS
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import LABELS, StudyRequest
from dtsinn.simulation.scanner.noise import load_image_noise
from dtsinn.simulation.scanner.noise_model import NOISE_MODELS
from dtsinn.workflows.demo import further_commands

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    "simulate",
    "import",
    "info",
    "check",
    "tracers",
    "protocols",
    "train",
    "search",
    "status",
    "stop",
    "report",
    "evaluate",
    "suites",
    "export",
    "separate",
    "models",
    "promote",
    "rollback",
    "ui",
    "server",
    "demo",
    "doctor",
    "registry",
]
INSIDE = ["registry copy", "registry prune"]


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, which must stay empty when they refuse."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)


def test_the_commands_are_these() -> None:
    group = typer.main.get_command(app)
    assert list(group.commands) == COMMANDS  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS + INSIDE)
def test_every_command_has_help_with_an_example_and_stands_in_the_docs(command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"Example: dtsinn {command}" in out
    assert f"dtsinn {command}" in (ROOT / "docs" / "commands.md").read_text()


def leaves(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """All commands, those inside of groups too, by what is typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *words, name)
        else:
            yield " ".join([*words, name]), command


def test_no_option_goes_or_comes_unseen() -> None:
    """Scripts of users name them: a change here is a change for users, to be told in CHANGELOG."""
    found = [
        " ".join([typed, *sorted(flag for one in command.params for flag in flags_of(one))])
        for typed, command in leaves(typer.main.get_command(app))
    ]
    assert found == (ROOT / "tests" / "commands" / "flags.txt").read_text().splitlines()


def flags_of(param: Any) -> list[str]:
    return [flag for flag in (*param.opts, *param.secondary_opts) if flag.startswith("-")]


CHOICES: dict[str, dict[str, Iterable[str]]] = {
    "search": {"--sampler": SAMPLERS, "--scheduler": SCHEDULERS, "--space": config_names("spaces")},
    "simulate": {
        "--phantom": PHANTOMS,
        "--noise": load_image_noise().levels,
        "--noise-model": NOISE_MODELS,
        "--labels": LABELS,
        "--protocol": protocol_names(),
    },
    "evaluate": {"--suite": config_names("suites")},
}


def test_help_groups_options_and_names_what_there_is_to_choose_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for typed, command in leaves(typer.main.get_command(app)):
        code, out, _ = run(*typed.split(), "--help")
        assert code == 0
        lines = {flag: line for line in out.splitlines() if (flag := first_flag(line))}
        for param in command.params:
            for flag in flags_of(param)[:1]:
                assert "<str>" not in lines[flag], f"{typed} {flag} does not say what it takes"
        for flag, known in CHOICES.get(typed, {}).items():
            assert "|".join(known) in lines[flag]
        own = {param.name for param in command.params} - COMMON
        groups = {one.rich_help_panel for one in command.params if one.rich_help_panel}
        assert len(groups) >= 2 or len(own) <= 8, f"the options of {typed} stand in one heap"


COMMON = {"workspace", "quiet", "debug", "as_json", "help"}


def first_flag(line: str) -> str | None:
    found = re.search(r"--[a-z-]+", line)
    return found[0] if found and line.startswith("│ ") and "  " in line else None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], "no such command; got 'serch'; try dtsinn search --help"),
        (["registry", "prun"], "no such command; got 'prun'; try dtsinn registry prune --help"),
        (["--foo"], "no such option; got --foo; try dtsinn --help"),
        (["search", "x", "--trals", "3"], "no such option; got --trals; try --trials"),
        (["search"], "STORE; got nothing; wanted a zarr store: path or URL; try dtsinn search -"),
        (["export"], "--out; got nothing; wanted folder to write; try dtsinn export --help"),
        (["search", "x", "--trials"], "--trials; got nothing; wanted a value; try dtsinn"),
        (["search", "x", "y", "z"], "too many arguments; got y z; try dtsinn search --help"),
        (["search", "x", "--trials", "0"], "--trials; got '0'; wanted greater than or equal to 1;"),
        (["simulate", "x", "--size", "a"], "--size; got 'a'; wanted a valid integer; try dtsinn "),
        (["search", "x", "--target", "nan"], "--target: nan is no finite number; try dtsinn sear"),
    ],
)
def test_wrong_usage_is_one_line_too(arguments: list[str], said: str) -> None:
    assert refused(*arguments).startswith(f"dtsinn: {said}")


def parsed(line: str) -> dict[str, Any]:
    """What a shell and the command line make of a line that was printed, and run nothing."""
    words = shlex.split(line)
    assert words[0] == "dtsinn"
    group = typer.main.get_command(app)
    context = group.make_context("dtsinn", words[1:], resilient_parsing=True)
    name, command, rest = group.resolve_command(context, words[1:])  # type: ignore[attr-defined]
    return {"command": name} | command.make_context(name, list(rest), parent=context).params


ELSEWHERE = Workspace(Path("my ws"))
STORE = "it's my.zarr"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (resume_command(STORE, "first", ELSEWHERE, 5), {"name": "first", "trials": 5}),
        (resume_command(STORE, "first", ELSEWHERE), {"store": STORE, "resume": True}),
        (ELSEWHERE.command("evaluate", "--model", "best"), {"model": ["best"]}),
        *((line, {}) for line in further_commands(ELSEWHERE, STORE, "mine@champion", "long")),
    ],
)
def test_printed_commands_are_understood(line: str, wanted: dict[str, Any]) -> None:
    found = parsed(line)
    assert (wanted | {"workspace": Path("my ws")}).items() <= found.items()
    for key in ("store", "stores"):
        assert found.get(key) in (None, STORE, [STORE])


@pytest.mark.parametrize("command", COMMANDS[:-1])
def test_the_example_of_each_command_is_understood(command: str) -> None:
    group = typer.main.get_command(app)
    example = str(group.commands[command].epilog).removeprefix("Example: ")  # type: ignore[attr-defined]
    assert parsed(example)["command"] == command


@pytest.mark.parametrize("variable", ["", "elsewhere"])
def test_the_workspace_is_named_unless_it_is_found_without(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("DTSINN_WORKSPACE", variable)
    for workspace in (ELSEWHERE, Workspace(Path("dtsinn-workspace"))):
        assert parsed(workspace.command("models"))["workspace"] == workspace.root
    monkeypatch.delenv("DTSINN_WORKSPACE")
    assert Workspace(Path("dtsinn-workspace")).command("models") == "dtsinn models"


@pytest.mark.parametrize(
    "arguments",
    [["models"], ["models", "show", "best"], ["report", "first"], ["status", "first"],
     ["stop", "first"], ["promote", "a/1"], ["rollback", "a"], ["export", "--out", "o"], ["ui"],
     ["evaluate"], ["train", "none.zarr"], ["registry", "prune"]],
)  # fmt: skip
def test_commands_that_an_error_advises_are_understood(arguments: list[str]) -> None:
    advised = refused(*arguments, "--workspace", "my ws").partition("; try ")[2].strip()
    found = parsed(advised)
    if arguments[0] != "train":  # it lacks a store, which is made without a workspace
        assert found["workspace"] == Path("my ws")


def test_an_advised_command_may_have_an_alternative(small_path: Path) -> None:
    folder = Path("my ws/searches/first")
    with driving(folder):
        (folder / "ledger.jsonl").touch()
        code, _, said = run("search", small_path, "--name", "first", "--workspace", "my ws")
    assert code == 2
    advised, _, rest = said.partition("; try ")[2].strip().partition(", ")
    assert (parsed(advised)["name"], parsed(advised)["workspace"]) == ("first", Path("my ws"))
    assert rest == "or another --name"


@pytest.mark.parametrize(
    ("advice", "completed"),
    [
        ("dtsinn status", "dtsinn status{}"),
        ("dtsinn search '/data/a, b.zarr' --name x, or another --name",
         "dtsinn search '/data/a, b.zarr' --name x{}, or another --name"),
        ("dtsinn search a,b.zarr --workspace 'my ws', or another",
         "dtsinn search a,b.zarr --workspace 'my ws', or another"),
        ("df -h, then dtsinn registry prune, or another folder",
         "df -h, then dtsinn registry prune{}, or another folder"),
        ("dtsinn check x.zarr, then dtsinn models", "dtsinn check x.zarr, then dtsinn models{}"),
        ("the newer dtsinn", "the newer dtsinn"),
        ("dtsinn dance", "dtsinn dance"),
    ],
)  # fmt: skip
def test_an_advised_command_finds_the_workspace(advice: str, completed: str) -> None:
    group, ctx = typer.main.get_command(app), SimpleNamespace(meta={"workspace": ELSEWHERE})
    said = group._advise(f"no; got x; try {advice}", ctx)  # type: ignore[attr-defined]
    assert said == f"no; got x; try {completed.format(' --workspace ' + repr('my ws'))}"


def test_the_version_is_printed() -> None:
    import dtsinn

    assert run("--version") == (0, f"{dtsinn.__version__}\n", "")


def test_a_store_is_simulated_described_and_checked(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    code, _, err = run(
        "simulate", out, "--subjects", 8, "--slices", 1, "--size", 16, "--workers", 1, "--quiet"
    )
    assert (code, err) == (0, "")
    code, text, _ = run("info", out)
    assert code == 0
    assert "fmz at 0 min, fdg at 20 min" in text
    code, text, _ = run("info", out, "--json")
    assert json.loads(text)["samples"] == 8
    code, text, _ = run("check", out)
    assert code == 0
    assert "is whole: 8 samples" in text


def test_a_simulation_says_what_it_took(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    code, text, _ = run("simulate", out, "--subjects", 4, "--slices", 1, "--size", 16,
                        "--noise-model", "osem", "--labels", "osem", "--phantom", "cylinder",
                        "--dtype", "float16", "--workers", 1)  # fmt: skip
    assert code == 0
    assert re.search(r"4 samples in [\d.]+ s, [\d.]+ a second, peak memory .* \d+ MiB", text)
    code, text, _ = run("info", out)
    assert "osem mid" in text
    assert "float16" in text


def test_info_draws_what_the_store_holds(small_path: Path, tmp_path: Path) -> None:
    code, _, err = run("info", small_path, "--pictures", tmp_path / "look")
    assert code == 0
    drawn = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    wanted = [f"look/{s}/{n}.png" for s in ("train", "val") for n in ("curves", "montage", "sum")]
    assert drawn == wanted
    assert all(name in err for name in wanted)


def test_tracers_are_listed_with_regions_and_sources_and_drawn(tmp_path: Path) -> None:
    code, text, _ = run("tracers")
    assert code == 0
    for name in tracer_names():
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    code, text, _ = run("tracers", "fdg", "--pictures", tmp_path / "curves")
    assert code == 0
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["fdg.png"]
    for region, tissue in load_tracer("fdg").tissues.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{region} "))
        assert tissue.source in line
        assert f"{tissue.K1:g}" in line
    code, text, _ = run("tracers", "fdg", "--json")
    assert from_mapping(Tracer, json.loads(text)[0], "json") == load_tracer("fdg")


def test_protocols_are_drawn_to_one_scale(tmp_path: Path) -> None:
    code, text, _ = run("protocols", "--pictures", tmp_path / "drawn")
    assert code == 0
    lines = text.splitlines()
    for name in protocol_names():
        place = next(n for n, line in enumerate(lines) if line.startswith(f"{name}: "))
        assert lines[place + 2].strip()[0] in "1*"
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["protocols.png"]


@pytest.mark.parametrize(
    ("frames", "injections", "message"),
    [
        ("[[4, 60], [2, -5]]", "[0, 60]", "duration of frame 4; got -5"),
        ("[[4, 60]]", "[0, 240]", "injection; got 240 s; wanted inside the scan, 0 to 240 s"),
        ("[[4, 60]]", "[60, 0]", "wanted ascending times"),
        ("[[0, 60]]", "[0, 0]", "frames: count; got 0"),
    ],
)
def test_a_wrong_protocol_of_the_users_is_refused(
    tmp_path: Path, frames: str, injections: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ndescription: mine\nsource: uncited\n"
        f"frames: {frames}\ninjections: {injections}\n"
    )
    assert message in refused("protocols", path)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Eight slices of eight subjects in the published code's folders, and a plan of them."""
    folder = tmp_path / "published"
    request = StudyRequest(subjects=8, slices=1, size=16)
    for number in range(8):
        images = render_subject(request, number)
        arrays = {"hybrid": images.mixture[0]}
        arrays |= {"fmz": images.tracers[0, 0], "fdg": images.tracers[0, 1]}
        for kind, image_TYX in arrays.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            savemat(folder / kind / f"Anna{number}_1.mat", {"data": image_TYX.transpose(1, 2, 0)})
    (folder / "plan.yaml").write_text(
        "tracers: [fmz, fdg]\nprotocol: p1\nunits: kBq/mL\ndecay_corrected: false\n"
        "voxel_size_mm: [14.4, 14.4]\nslice_thickness_mm: 10\n"
        "subjects: '(?P<subject>.+)_(?P<slice>\\d+)'\n"
    )
    return folder


def test_foreign_scans_are_imported_checked_and_described(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    code, text, _ = run(
        "import", published, f"{out}/", "--from", "mat", "--plan", published / "plan.yaml"
    )
    assert code == 0
    assert "8 samples, checked" in text
    private = tmp_path / "s.zarr.subjects.json"
    assert private.stat().st_mode & 0o777 == 0o600
    assert "Anna3" in private.read_text()
    code, text, _ = run("info", out)
    assert code == 0
    assert "Anna" not in text
    assert "imported" in text
    assert run("check", out)[0] == 0


def test_an_import_to_what_exists_is_refused_before_the_plan_is_read(tmp_path: Path) -> None:
    assert "exists already" in refused("import", "none.yaml", tmp_path, "--from", "nifti")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan.yaml", "out.zarr", "--from", "tiff"], "wanted one of mat, nifti, dicom"),
        (["folder", "out.zarr", "--from", "mat"], "--plan; got none; wanted a YAML file"),
        (["p.yaml", "out.zarr", "--from", "nifti", "--plan", "p.yaml"], "SRC is the plan"),
        (["p.yaml", "s3://b/out.zarr", "--from", "nifti"], "--map; got none; wanted a local file"),
        (["p.yaml", "out.zarr", "--from", "nifti"], "the plan cannot be read"),
    ],
)
def test_a_wrong_import_is_refused(arguments: list[str], message: str) -> None:
    assert message in refused("import", *arguments)


def refused(*arguments: str | Path) -> str:
    """The one line that a command refuses with, after which nothing may be left behind."""
    code, out, err = run(*arguments)
    assert code == 2, out + err
    assert out == ""
    assert err.startswith("dtsinn: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert list(Path.cwd().iterdir()) == []
    return err


@pytest.mark.parametrize("command", ["info", "check", "train", "search"])
def test_a_missing_store_is_refused(command: str) -> None:
    assert "no store at nowhere.zarr; try dtsinn simulate" in refused(command, "nowhere.zarr")


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    for command in ("info", "check", "train", "search"):
        assert "no zarr group" in refused(command, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "model.blokcs=8"], "unknown key; got model.blokcs; try model.blocks"),
        (["--set", "model.blocks=0"], "model.blocks; got 0; wanted at least 1"),
        (["--set", "steps=many"], "steps"),
        (["--config", "deflaut"], "no such run; got 'deflaut'"),
        (["--name", "../up"], "name of the run; got '../up'"),
        (["--device", "cuda:99"], "no such device; got 'cuda:99'"),
        (["--resume", "r", "--set", "steps=3"], "--resume continues a run as it is"),
        (["--resume", "r"], "run r has no checkpoint"),
    ],
)
def test_a_wrong_training_is_refused(small_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused("train", small_path, *arguments)


def test_a_store_that_is_given_twice_is_refused(small_path: Path) -> None:
    twice = small_path.parent / ".." / small_path.parent.name / small_path.name
    assert "a store is given twice" in refused("train", small_path, twice)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("parameters: {}", "is empty"),
        ("parameters: {model.blokcs: {int: [1, 2]}}", "got model.blokcs; try model.blocks"),
        ("parameters: {model.blocks: {int: [0, 2]}}", "wanted at least 1"),
    ],
)
def test_a_wrong_space_is_refused(
    small_path: Path, tmp_path: Path, space: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(space)
    assert message in refused("search", small_path, "--space", path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "quikc"], "no such space; got 'quikc'"),
        (["--time-budget", "2 hours"], "wanted such as 90s, 30m or 2h"),
        (["--sampler", "magic"], "no such sampler; got 'magic'; wanted one of tpe, gp"),
        (["--scheduler", "magic"], "no such scheduler"),
        (["--warm-start", "a", "--warm-start", "a"], "--warm-start names something twice"),
        (["--objective", "psnr:max,PSNR:min"], "--objective names a metric twice"),
        (["--name", "a/b"], "name of the search"),
        (["--cluster", "127.0.0.1:9"], "no Ray cluster at 127.0.0.1:9"),
        (["--cluster", "nonsense"], "wanted HOST:PORT, or auto"),
    ],
)
def test_a_wrong_search_is_refused(small_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused("search", small_path, *arguments)


def test_a_trial_that_can_never_fit_is_refused(small_path: Path, tmp_path: Path) -> None:
    code, _, err = run(
        "search", small_path, "--cpus-per-trial", 999, "--workspace", tmp_path / "w", "--quiet"
    )
    assert code == 2
    assert "a trial asks for 999 CPUs" in err
    assert "try a smaller --cpus-per-trial" in err
    assert not (tmp_path / "w" / "searches").exists()


def test_markup_in_a_name_is_text(small_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "a[b]c.zarr"
    path.symlink_to(small_path)
    assert "a[b]c.zarr" in run("info", path)[1]


def test_a_dry_run_shows_the_space_and_starts_nothing(small_path: Path) -> None:
    code, out, _ = run("search", small_path, "--space", "quick", "--dry-run")
    assert code == 0
    assert "model.blocks" in out
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracers", "fmz"], "wanted two names with a comma"),
        (["--tracers", "fmz,xyz"], "no such tracer; got 'xyz'"),
        (["--protocol", "p99"], "no such protocol"),
        (["--noise", "loud"], "noise"),
        (["--phantom", "fish"], "wanted one of brain, brain-lesion, thorax, cylinder"),
        (["--noise-model", "poisson"], "no such noise model; got 'poisson'; wanted one of image"),
        (["--labels", "osem"], "labels osem; got noise model image; wanted noise model osem"),
        (["--noise-model", "osem", "--scanner", "mine"], "no such scanner; got 'mine'"),
        (["--dtype", "float8"], "dtype; got 'float8'; wanted float32 or float16"),
        (["--device", "cuda:99"], "no such device; got 'cuda:99'"),
    ],
)
def test_a_wrong_simulation_is_refused(arguments: list[str], message: str) -> None:
    assert message in refused("simulate", "out.zarr", *arguments)


def test_an_existing_store_is_not_overwritten(small_path: Path) -> None:
    assert "exists already" in refused("simulate", small_path)


@pytest.mark.parametrize(
    "arguments",
    [["evaluate", "--model", "best"], ["models"], ["models", "show", "best"],
     ["export", "best", "--out", "out"], ["ui"]],
)  # fmt: skip
def test_reading_commands_make_no_workspace(arguments: list[str]) -> None:
    assert "no workspace at dtsinn-workspace" in refused(*arguments)


@pytest.mark.parametrize("ref", ["../x", "%2e%2e/x", "a#b", "a\nb", "name/0", "x@y@z"])
def test_a_hostile_model_name_is_refused(ref: str) -> None:
    refused("evaluate", "--model", ref)


@pytest.mark.parametrize("name", ["mixture", "tracers"])
def test_damage_is_named_by_check_and_by_training(damaged: Path, tmp_path: Path, name: str) -> None:
    shard = damaged / name / "c" / "0" / "/".join("0" * (3 if name == "mixture" else 4))
    content = bytearray(shard.read_bytes())
    content[10] ^= 0xFF
    shard.write_bytes(bytes(content))
    assert f"{name}, sample 0 is damaged" in refused("check", "--quiet", damaged)
    code, _, err = run(
        "train", damaged, "--quiet", "--set", "steps=20", "--workspace", tmp_path / "w"
    )
    assert code == 2
    assert f"damaged.zarr: {name}, sample 0 is damaged" in err


def test_debug_shows_the_traceback() -> None:
    code, _, err = run("info", "nowhere.zarr", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "dtsinn: no store at nowhere.zarr" in err


WITH_MLFLOW = [
    ["models"], ["train", "STORE"], ["search", "STORE"], ["evaluate"], ["export", "--out", "out"],
    ["promote", "a/1"], ["rollback", "a"], ["status"], ["ui"], ["demo"],
    ["registry", "copy", "--to", "http://h:1"], ["registry", "prune"],
]  # fmt: skip


@pytest.mark.parametrize("command", WITH_MLFLOW, ids=" ".join)
def test_each_command_says_the_same_of_a_tracking_uri_that_can_never_work(
    small_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    words = [str(small_path) if word == "STORE" else word for word in command]
    assert refused(*words) == (
        "dtsinn: MLFLOW_TRACKING_URI; got file:./mlruns; wanted a URI that begins with "
        "sqlite, postgresql, mysql, http, https\n"
    )


@pytest.mark.parametrize(
    ("uri", "got"),
    [
        ("databricks", "got databricks; wanted a URI that begins with sqlite, "),
        (" ", "got ' '; wanted"),
        ("http://h:5000 ", "got 'http://h:5000 ': Port could not"),
        ("sqlite:", "try sqlite:////FOLDER/mlflow.db"),
        ("sqlite://x.db", "try sqlite:////FOLDER/mlflow.db"),
        ("sqlite:///:memory:", "wanted a file, as memory is gone"),
        ("http://", "try http://HOST:PORT"),
        ("http://:5000", "try http://HOST:PORT"),
        ("http://me:secret@h:port", "got http://h:port: Port could not be"),
        ("http://h:99999", "try http://HOST:PORT"),
        ("http://[::1", "try http://HOST:PORT"),
        ("HTTP//h", "wanted a URI that begins with"),
        ("localhost:5000", "try http://localhost:5000"),
        ("./mlruns", "got ./mlruns; wanted"),
        ("sqlite:////nowhere/of/x.db", "got sqlite:////nowhere/of/x.db; wanted a file that exists"),
    ],
)
def test_a_tracking_uri_that_can_never_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, uri: str, got: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    told = refused("models")
    assert told.startswith("dtsinn: MLFLOW_TRACKING_URI; got ")
    assert got in told
    assert "secret" not in told
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("MLFLOW_REGISTRY_URI", "http://other", "wanted none: models are registered where"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon", "got 'soon'; wanted a whole number"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "much", "got 'much'; wanted a number"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "maybe", "got 'maybe'; wanted true or false"),
        ("MLFLOW_LOGGING_LEVEL", "loud", "got 'loud'; wanted CRITICAL or"),
    ],
)
def test_other_variables_of_mlflow_that_can_never_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(name, value)
    told = refused("models")
    assert told.startswith(f"dtsinn: {name}; got ")
    assert wanted in told


def test_a_search_can_be_stopped_whatever_mlflow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    for command in ("stop", "report"):
        assert "no search 'first'" in refused(command, "first")


FAILURES = {
    "bug": (KeyError("x"), 1, "dtsinn: a bug of dtsinn; got KeyError: 'x'"),
    "machine": (PermissionError(13, "Permission denied", "f"), 1, "dtsinn: f; got Permission"),
    "deep": (RecursionError("deep"), 2, "dtsinn: the input; got too many levels"),
    "ctrl-c": (KeyboardInterrupt(), 130, "dtsinn: interrupted"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_whatever_is_raised_is_one_line_and_a_traceback_with_debug(kind: str) -> None:
    error, wanted, line = FAILURES[kind]
    failing = typer.Typer(cls=type(typer.main.get_command(app)))

    @failing.command()
    def fail(debug: Debug = False) -> None:
        raise error

    @failing.command()
    def other() -> None: ...

    result = CliRunner().invoke(failing, ["fail"])
    assert result.exit_code == wanted
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    if isinstance(error, Exception):
        with warnings.catch_warnings():
            told = CliRunner().invoke(failing, ["fail", "--debug"]).stderr
        assert "Traceback" in told
        assert line in told


def test_streams_that_are_closed_or_know_little_are_no_reason_to_fail(tmp_path: Path) -> None:
    """A pipe that nobody reads, ASCII, and standard output closed, in one process each."""
    dtsinn = [sys.executable, "-c", "from dtsinn.cli import main; main()"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "3"}
    done = subprocess.run([*dtsinn, "info", "±.zarr"], env=ascii_only, capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"dtsinn: no store at \\xb1.zarr; try")
    for ending in ("| true", ">&-", ">&- 2>&-"):
        done = subprocess.run(
            f"{shlex.join([*dtsinn, 'protocols'])} {ending}", shell=True, capture_output=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from dtsinn.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & {"torch", "ray", "mlflow", "zarr"}
