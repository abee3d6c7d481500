"""``separator.json``: strict, the same bytes for the same words, and free of local paths."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsinn.core.errors import InputError, PackageError
from dtsinn.deploy.facts import INFO_NAME
from dtsinn.deploy.info import SeparatorInfo, info_text, portable, read_info

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("info")


@pytest.fixture(scope="module")
def plain(package: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((package / INFO_NAME).read_text("utf-8"))
    return content


def read_text(folder: Path, text: str) -> SeparatorInfo:
    (folder / INFO_NAME).write_text(text, "utf-8")
    return read_info(folder)


@settings(deadline=None)
@given(
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    config=st.dictionaries(st.text(), JSON_VALUES, max_size=4),
)
def test_it_survives_its_text(
    folder: Path, package: Path, metrics: dict[str, float], config: dict[str, Any]
) -> None:
    known = read_info(package)
    lineage = dataclasses.replace(known.lineage, config=config)
    info = dataclasses.replace(known, metrics=metrics, lineage=lineage)
    text = info_text(info)
    assert read_text(folder, text) == info
    assert info_text(read_text(folder, text)) == text


def test_its_text_is_sorted_and_ends_with_a_newline(plain: dict[str, Any], package: Path) -> None:
    text = (package / INFO_NAME).read_text("utf-8")
    assert text == json.dumps(plain, sort_keys=True, indent=2) + "\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "onnx"}, "format"),
        ({"format_version": 6}, "newer dtsinn; got format_version 6"),
        ({"format_version": 3}, "an older dtsinn; got format_version 3"),
        ({"format_version": "1"}, "format_version"),
        ({"colour": "red"}, "unknown key; got colour"),
        ({"tracers": ["fmz"]}, "tracers"),
        ({"tracers": "fmz,fdg"}, "tracers"),
        ({"frame_duration": [60.0]}, "frames"),
        ({"frame_duration": [60.0, 60.0, 0.0, 60.0]}, "duration of frame 2"),
        ({"half_life": [1221.8, 0.0]}, "half-life of fdg"),
        ({"half_life": [1221.8, float("nan")]}, "half_life.1; got nan"),
        ({"injection_time": [90.0, 0.0]}, "injections"),
        ({"metrics": {"psnr": float("inf")}}, "metrics.psnr; got inf"),
        ({"normalisation": "none"}, "normalisation"),
        ({"model": {"kind": "invertible", "blocks": 0}}, "model.blocks"),
        ({"model": {"kind": "invertible", "layers": 1}}, "unknown key; got model.layers"),
        ({"model": {"kind": "unet", "blocks": 1}}, "model.blocks is no setting of kind unet"),
        ({"model": {"blocks": 1}}, "model.kind is missing"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, plain: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PackageError, match=message) as caught:
        read_text(folder, json.dumps(plain | change))
    assert INFO_NAME in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["model", "tracers", "frame_start", "half_life", "lineage"])
def test_what_is_missing_is_named(folder: Path, plain: dict[str, Any], key: str) -> None:
    with pytest.raises(PackageError, match=f"{key} is missing"):
        read_text(folder, json.dumps({k: v for k, v in plain.items() if k != key}))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '"\ud800"'])
def test_what_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / INFO_NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(PackageError, match=INFO_NAME):
        read_info(folder)


def test_a_metric_that_is_no_number_is_refused(info: SeparatorInfo) -> None:
    with pytest.raises(InputError, match="metric 'loss'; got nan"):
        dataclasses.replace(info, metrics={"loss": float("nan")})


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/home/jane/data/train.zarr", "train.zarr"),
        ("/home/jane/data/train.zarr/", "train.zarr"),
        ("file:///home/jane/train.zarr", "train.zarr"),
        ("C:\\Users\\jane\\train.zarr", "train.zarr"),
        ("train.zarr", "train.zarr"),
        ("data/train.zarr", "data/train.zarr"),
        ("s3://bucket/train.zarr", "s3://bucket/train.zarr"),
        ("", ""),
    ],
)
def test_absolute_local_paths_are_cut_to_their_last_part(
    info: SeparatorInfo, path: str, kept: str
) -> None:
    config = {"init": path, "list": [{"deep": path}], "steps": 5}
    lineage = dataclasses.replace(info.lineage, store_path=path, config=config)
    cut = portable(dataclasses.replace(info, lineage=lineage))
    assert cut.lineage.store_path == kept
    assert cut.lineage.config == {"init": kept, "list": [{"deep": kept}], "steps": 5}
    assert dataclasses.replace(cut, lineage=lineage).model == info.model
    assert portable(cut) == cut
