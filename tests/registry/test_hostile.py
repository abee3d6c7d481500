"""What is put in the way of the registry: one clear line each, and nothing changed."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import PackageError, RunError
from dtsinn.deploy.info import info_text
from dtsinn.deploy.manifest import write_manifest
from dtsinn.deploy.package import read_info
from dtsinn.registry.copying.files import MLMODEL, digest_model
from dtsinn.registry.copying.ids import Ids
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.registration import register
from dtsinn.registry.versions import find_alias, get_alias

NAME = "dtsinn-fmz-fdg-p1"
CONFIG = GateConfig(suite=None)


class Bomb:
    """Runs its author's code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def add_pickle(package: Path) -> None:
    (package / "weights.pkl").write_bytes(pickle.dumps(Bomb()))


def weights_are_a_pickle(package: Path) -> None:
    (package / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    reseal(package)


def change_a_byte(package: Path) -> None:
    content = bytearray((package / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (package / "weights.safetensors").write_bytes(content)


def change_a_byte_and_the_manifest(package: Path) -> None:
    change_a_byte(package)
    reseal(package)


def add_a_file(package: Path) -> None:
    (package / "readme.txt").write_text("hello")


def list_a_file_above(package: Path) -> None:
    list_as(package, "../weights.safetensors")


def list_an_absolute_file(package: Path) -> None:
    list_as(package, "/etc/passwd")


def link_inside(package: Path) -> None:
    elsewhere = package.parent / "elsewhere"
    shutil.move(package / "weights.safetensors", elsewhere)
    (package / "weights.safetensors").symlink_to(elsewhere)


def list_as(package: Path, path: str) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"][0]["path"] = path
    (package / "manifest.json").write_text(json.dumps(manifest))


def reseal(package: Path) -> None:
    """A manifest that fits, as whoever may write to the files would make it."""
    (package / "manifest.json").unlink()
    write_manifest(package)


TAMPERINGS = {
    add_pickle: "weights.pkl is not in manifest.json",
    weights_are_a_pickle: "weights.safetensors",
    change_a_byte: "weights.safetensors was changed",
    add_a_file: "readme.txt is not in manifest.json",
    list_a_file_above: "'../weights.safetensors' is no file of a package",
    list_an_absolute_file: "'/etc/passwd' is no file of a package",
    link_inside: "got a link or folder",
}
"""What is done to a package, and what the line says."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a bomb would leave its mark."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def state(tracker, workspace) -> Callable[[], object]:
    """All that the registry says."""

    def read() -> object:
        models = tracker.client.search_registered_models()
        versions = tracker.client.search_model_versions()
        experiments = [e.experiment_id for e in tracker.client.search_experiments()]
        logged = tracker.client.search_logged_models(experiment_ids=experiments)
        return (
            [(model.name, dict(model.tags), dict(model.aliases)) for model in models],
            [(version.name, version.version, dict(version.tags)) for version in versions],
            sorted(model.model_id for model in logged),
        )

    return read


def files_of(version) -> Path:
    """Where the files of a version lie."""
    return Path(version.source.removeprefix("file://").replace("%20", " ")) / "data" / "separator"


def asked(*arguments: object) -> tuple[int, str]:
    """Exit code and the one line of a command."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


@pytest.mark.parametrize("tamper", [*TAMPERINGS, change_a_byte_and_the_manifest])
def test_a_version_that_was_tampered_with_is_not_promoted(
    tamper, tracker, workspace, registered, packages, state, here
) -> None:
    version = registered(packages.strong)
    tamper(files_of(version))
    before = state()
    code, line = asked("promote", version.ref, "--quiet", "--workspace", workspace.root)
    assert code == PackageError.exit_code
    assert TAMPERINGS.get(tamper, f"is not what was registered as {version.ref}") in line
    assert line.count("\n") == 1
    assert state() == before
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_package_that_was_tampered_with_is_not_registered(
    tamper, tracker, begin, packages, state, tmp_path, here
) -> None:
    package = tmp_path / "package"
    shutil.copytree(packages.strong, package)
    tamper(package)
    begin("search/a")
    before = state()
    with pytest.raises(PackageError) as caught:
        register(tracker, package, run_key="search/a")
    assert TAMPERINGS[tamper] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state() == before
    assert list(here.iterdir()) == []


def test_names_that_mean_something_elsewhere_are_refused(
    tracker, workspace, registered, packages, state
) -> None:
    version = registered(packages.strong)
    before = state()
    for name in ("a%2eb", "a#b", "a\nb", "../a", "/a", "a'b", "", "a" * 200):
        for arguments in ((f"{name}/1",), (version.ref, "--as", name)):
            code, line = asked("promote", *arguments, "--quiet", "--workspace", workspace.root)
            assert code == 2, arguments
            assert line.startswith("dtsinn: ")
            assert line.count("\n") == 1
    assert state() == before


def test_a_model_of_another_pair_neither_wins_nor_is_beaten(
    tracker, workspace, registered, packages, store, tmp_path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(packages.strong, other)
    info = dataclasses.replace(read_info(other), tracers=("ace", "fdg"))
    (other / "separator.json").write_text(info_text(info))
    reseal(other)
    stranger = registered(other)
    assert stranger.name == "dtsinn-ace-fdg-p1"
    report = promote(tracker, workspace, stranger, store, CONFIG)
    assert [check.name for check in report.failures] == ["pair and frames", "champion here"]
    assert "has fmz, fdg, model ace, fdg" in str(report.failures[0].value)
    tracker.client.set_registered_model_alias(stranger.name, "champion", "1")
    ours = registered(packages.stronger)
    against = promote(tracker, workspace, ours, store, CONFIG, name=stranger.name)
    assert [check.name for check in against.failures] == ["champion here"]
    champion = find_alias(tracker, stranger.name, "champion")
    assert champion is not None
    assert champion.digest == stranger.digest


def test_a_champion_whose_files_are_gone_says_how_to_go_on(
    tracker, workspace, registered, packages, store
) -> None:
    weak, strong = registered(packages.weak), registered(packages.strong)
    challenger = registered(packages.stronger)
    assert promote(tracker, workspace, weak, store, CONFIG).passed
    tracker.client.delete_registered_model_alias(NAME, "previous")
    away = files_of(weak).rename(files_of(weak).with_name("away"))
    with pytest.raises(PackageError, match=rf"are gone.* try .*to delete {NAME}/1 in MLflow"):
        promote(tracker, workspace, challenger, store, CONFIG)
    away.rename(away.with_name("separator"))
    assert promote(tracker, workspace, strong, store, CONFIG).passed
    shutil.rmtree(files_of(strong))
    with pytest.raises(PackageError, match=rf"{NAME}/2 are gone.* try dtsinn rollback {NAME}"):
        promote(tracker, workspace, challenger, store, CONFIG)
    roll_back(tracker, workspace, NAME)
    assert promote(tracker, workspace, challenger, store, CONFIG).passed
    found = find_alias(tracker, NAME, "champion")
    assert found is not None
    assert found.version == challenger.version


def test_a_gate_that_refuses_is_exit_code_three(
    tracker, workspace, registered, packages, store, tmp_path
) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text("{suite: null}")
    version = registered(packages.untrained)
    result = CliRunner().invoke(
        app,
        ["promote", version.ref, "--gate", str(gate), "--data", store.header.path, "--quiet",
         "--workspace", str(workspace.root)],
    )  # fmt: skip
    assert result.exit_code == 3
    assert f"{NAME}/1 is refused against {NAME}/2: better" in result.stdout
    assert result.stderr == ""
    assert get_alias(tracker, NAME, "champion").version == 2


@pytest.mark.parametrize(
    "text",
    [
        "a: !!timestamp x",
        "a: !!python/object/apply:os.system [ls]",
        "a: 2020-02-30",
        "l0: &l0 [x, x]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 30)),
    ],
    ids=["tag", "code", "no date", "bomb"],
)
def test_a_logged_model_that_is_no_plain_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / MLMODEL).write_text(text)
    with pytest.raises(RunError, match="MLmodel cannot be read; got ") as caught:
        digest_model(tmp_path, "here", Ids())
    assert "\n" not in str(caught.value)
