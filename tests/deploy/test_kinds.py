"""Packages of every kind of network: with and without an inverse, with squeezes, conditioned."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dtsinn.core.errors import InputError, PackageError
from dtsinn.data.store import StoreHeader
from dtsinn.deploy.export import (
    PARITY_LIMIT,
    check_parity,
    export_package,
    open_session,
    parity_mixture,
    worst_relative_error,
)
from dtsinn.deploy.package import SeparatorInfo, package_digest, verify_package, write_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import ModelConfig, kinds_with
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.testing import small_config

FRAMES = 4
RIVALS: dict[str, ModelConfig] = {
    kind: small_config(method) for kind, method in kinds_with(has_weights=True, exact=False).items()
}
SQUEEZED = InvertibleConfig(blocks=1, width=4, depth=3, squeeze="haar", coupling="two-sided")
CONDITIONED = InvertibleConfig(blocks=1, width=4, depth=3, conditioning="protocol")
OfKind = Callable[[ModelConfig, int], tuple[SeparatorNetwork, SeparatorInfo]]
Packages = Callable[[str], Path]
KINDS: dict[str, ModelConfig] = RIVALS | {"squeezed": SQUEEZED, "conditioned": CONDITIONED}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, of_kind: OfKind) -> Packages:
    """One package of each kind, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("kinds")

    def package(kind: str) -> Path:
        if not (folder / kind).exists():
            write_package(folder / kind, *of_kind(KINDS[kind], FRAMES))
        return folder / kind

    return package


def mixture(samples: int, *size: int) -> npt.NDArray[np.float32]:
    return parity_mixture(samples, FRAMES, *size)


def card(package: Path) -> str:
    """The card's words, wherever its lines end."""
    return " ".join((package / "card.md").read_text("utf-8").split())


@pytest.mark.parametrize("kind", RIVALS)
def test_a_rival_travels_without_an_inverse(kind: str, packages: Packages, tmp_path: Path) -> None:
    names = {file.path for file in verify_package(packages(kind)).files}
    assert names == {"weights.safetensors", "separator.json", "card.md", "model.onnx"}
    report = export_package(packages(kind), tmp_path / "out")
    assert (report.inverse_error, report.round_trip_error) == (None, None)
    assert 0 <= report.model_error <= PARITY_LIMIT
    assert package_digest(tmp_path / "out") == package_digest(packages(kind))
    separator = Separator.load(tmp_path / "out")
    message = rf"no inverse; got a network of kind {kind}; wanted one of kind invertible"
    with pytest.raises(InputError, match=message):
        separator.mix(separator.separate(mixture(1, 8, 8)))
    with pytest.raises(InputError, match=message):
        separator.round_trip_error(mixture(1, 8, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_and_torch_agree_at_every_size(kind: str, packages: Packages) -> None:
    separator = Separator.load(packages(kind))
    session = open_session(packages(kind) / "model.onnx")
    for samples, *size in ((1, 4, 5), (2, 9, 16), (5, 18, 7), (2, 16, 16)):
        m = mixture(samples, *size)
        tracers, scale = session.run(None, {"mixture": m})
        assert tracers.shape == (samples, 2, FRAMES, *size)
        assert worst_relative_error(tracers, separator.separate(m)) <= PARITY_LIMIT
        assert worst_relative_error(scale, separator.scale(m)) <= PARITY_LIMIT
    assert [axis if isinstance(axis, str) else None for axis in session.get_outputs()[0].shape] == [
        "batch",
        None,
        None,
        "height",
        "width",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_homogeneous_but_for_biases(kind: str, packages: Packages) -> None:
    separator, m = Separator.load(packages(kind)), mixture(2, 9, 6)
    assert worst_relative_error(separator.separate(50 * m), 50 * separator.separate(m)) <= 1e-5
    assert np.isfinite(separator.separate(np.zeros((1, FRAMES, 9, 6), np.float32))).all()


@pytest.mark.parametrize("kind", RIVALS)
def test_the_card_of_a_rival_shows_no_inverse_and_its_code_runs(
    kind: str, packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(packages(kind))
    text = Path("card.md").read_text("utf-8")
    assert f"A network of kind {kind} has no inverse" in card(Path())
    assert "inverse.onnx" not in text
    assert "separator.mix" not in text
    results = []
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        names: dict[str, Any] = {"mixture": mixture(2, 9, 8)}
        exec(code, names)
        results.append(names)
    one, other = results
    assert worst_relative_error(one["tracers"], other["tracers"]) <= PARITY_LIMIT
    assert worst_relative_error(one["scale"], other["scale"]) <= PARITY_LIMIT


def test_an_inverse_beside_a_rival_is_refused(
    packages: Packages, tmp_path: Path, reseal: Callable[[Path], None]
) -> None:
    copied = Path(shutil.copytree(packages("temporal"), tmp_path / "copied"))
    shutil.copyfile(copied / "model.onnx", copied / "inverse.onnx")
    reseal(copied)
    with pytest.raises(PackageError, match=r"inverse\.onnx; got one beside a temporal"):
        verify_package(copied)


def test_a_package_of_a_method_without_weights_is_refused(
    packages: Packages, tmp_path: Path, reseal: Callable[[Path], None]
) -> None:
    copied = Path(shutil.copytree(packages("temporal"), tmp_path / "copied"))
    text = (copied / "separator.json").read_text("utf-8")
    model = re.compile(r'"model": \{[^}]*\}')
    (copied / "separator.json").write_text(model.sub('"model": {"kind": "spectral"}', text))
    reseal(copied)
    with pytest.raises(PackageError, match=r"model\.kind; got spectral; wanted one of invertible"):
        verify_package(copied)


def test_squeezes_pad_with_zeros_and_cut(packages: Packages) -> None:
    separator, m = Separator.load(packages("squeezed")), mixture(2, 9, 13)
    padded = np.pad(m, ((0, 0), (0, 0), (0, 1), (0, 1)))
    tracers = separator.separate(padded)
    assert np.array_equal(separator.scale(m), separator.scale(padded))
    assert worst_relative_error(separator.separate(m), tracers[..., :9, :13]) <= 1e-6
    assert worst_relative_error(separator.mix(tracers, separator.scale(m)), padded) <= PARITY_LIMIT


def test_what_was_cut_off_cannot_be_mixed_again(packages: Packages) -> None:
    separator, m = Separator.load(packages("squeezed")), mixture(1, 9, 13)
    message = r"got 9x13 pixels; wanted sides that are multiples of 2; try separating"
    with pytest.raises(InputError, match=message):
        separator.mix(separator.separate(m))
    with pytest.raises(InputError, match=message):
        separator.round_trip_error(m)
    assert "multiples of 2" in card(packages("squeezed"))


def test_the_proof_of_squeezes_covers_padded_slices(packages: Packages) -> None:
    report = check_parity(packages("squeezed"))
    assert report.failure == ""
    assert report.round_trip_error is not None
    assert any(height % 2 or width % 2 for _, height, width in report.cases)


@pytest.mark.slow
@pytest.mark.parametrize("squeeze", ["none,haar,shuffle", "shuffle,haar,haar,haar"])
def test_several_squeezes_are_exported(squeeze: str, of_kind: OfKind, tmp_path: Path) -> None:
    config = dataclasses.replace(SQUEEZED, squeeze=squeeze)
    write_package(tmp_path / "deep", *of_kind(config, 2))
    assert check_parity(tmp_path / "deep").failure == ""


def test_a_store_of_odd_slices_fits_squeezes(
    packages: Packages, make_header: Callable[..., StoreHeader]
) -> None:
    assert Separator.load(packages("squeezed")).fits(make_header(FRAMES, size=9)) == ""


def test_a_conditioned_network_is_told_of_its_own_protocol(
    packages: Packages, make_header: Callable[..., StoreHeader]
) -> None:
    separator, m = Separator.load(packages("conditioned")), mixture(2, 8, 8)
    info = separator.info
    there = make_header(FRAMES, seconds=60.0)
    same = dataclasses.replace(
        there,
        half_life=info.half_life,
        protocol=dataclasses.replace(there.protocol, injection_time=info.injection_time),
    )
    assert np.array_equal(separator.for_protocol(same).separate(m), separator.separate(m))


def test_a_conditioned_network_is_told_of_another_protocol(
    packages: Packages, make_header: Callable[..., StoreHeader]
) -> None:
    separator, m = Separator.load(packages("conditioned")), mixture(2, 8, 8)
    before = separator.separate(m)
    other = separator.for_protocol(make_header(FRAMES, seconds=300.0))
    assert worst_relative_error(other.separate(m), before) > 1e-4
    assert other.round_trip_error(m) <= 1e-5
    assert np.array_equal(separator.separate(m), before)  # it was not told
    assert other.digest == separator.digest
    assert "is told of the frame times" in card(packages("conditioned"))


def test_any_other_network_hears_nothing_of_a_protocol(
    packages: Packages, make_header: Callable[..., StoreHeader]
) -> None:
    separator = Separator.load(packages("unet"))
    assert separator.for_protocol(make_header(FRAMES, seconds=300.0)) is separator


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_frame_is_separated(kind: str, of_kind: OfKind, tmp_path: Path) -> None:
    separator = Separator(*of_kind(KINDS[kind], 1))
    m = parity_mixture(2, 1, 9, 8)
    tracers = separator.separate(m)
    assert tracers.shape == (2, 2, 1, 9, 8)
    assert np.isfinite(tracers).all()
    if kind == "cnn3d":  # the one whose frames are an axis of its convolutions
        write_package(tmp_path / "one", *of_kind(KINDS[kind], 1))
        assert check_parity(tmp_path / "one").failure == ""
