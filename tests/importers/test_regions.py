"""Regions come in on the scan's grid, with their names, left and right as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from nibabel.orientations import axcodes2ornt, ornt_transform
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import InputError
from dtsinn.data.store import open_store
from dtsinn.importers.nifti.regions import read_names
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import IMPORTERS
from tests.importers.conftest import ORIGIN_MM, SIZE, SLICES, VOXEL_MM

TABLE = "index\tname\tcolor\n0\tbackground\t#000\n2\tleft putamen\t#f00\n7\tright putamen\t#0f0\n"
NAMES = ("outside", "label 1", "left putamen", "label 3", "label 4", "label 5", "label 6")


def labels() -> np.ndarray:
    """[S, Y, X] the left in the first columns, the right in the last, higher up a smaller one."""
    made = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    made[:, 2:6, 1:4] = 2
    made[1:, 9:12, 11:15] = 7
    return made


def write_labels(
    path: Path,
    values: np.ndarray,
    axes: str = "RAS",
    voxel: tuple[float, ...] = VOXEL_MM,
    origin: tuple[float, ...] = ORIGIN_MM,
) -> Path:
    affine = np.diag([*voxel[::-1], 1.0])
    affine[:3, 3] = origin
    image = nibabel.Nifti1Image(values[:, ::-1].transpose(2, 1, 0), affine)
    image = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes)))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.fixture
def labelled(study: Any) -> tuple[Any, dict[str, Any]]:
    """One pair of scans, its plan, a table, and labels beside the first scan."""
    archive, plan = study
    plan = plan | {"subjects": plan["subjects"][:1]}
    (archive.folder / "dseg.tsv").write_text(TABLE)
    write_labels(archive.folder / "person-0-fmz_dseg.nii.gz", labels(), "LPS")
    return archive, plan


def opened(archive: Any, plan: dict[str, Any], **regions: Any) -> Any:
    return IMPORTERS["nifti"].open(archive.plan(plan), **regions)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR"])
def test_labels_lie_where_the_scan_has_them_whatever_the_axes(labelled, axes: str) -> None:
    archive, plan = labelled
    write_labels(archive.folder / "own.nii", labels(), axes)
    plan["subjects"][0]["regions"] = "own.nii"
    source = opened(archive, plan | {"regions": "dseg.tsv"})
    assert source.shape.region_names == (*NAMES, "right putamen")
    read = source.read(0)
    np.testing.assert_array_equal(read["regions"], labels())
    assert read["mixture"].shape[2:] == read["regions"].shape[1:]


def test_the_option_finds_labels_beside_the_scans_and_the_store_keeps_them(
    labelled, tmp_path: Path
) -> None:
    archive, plan = labelled
    out = tmp_path / "store.zarr"
    arguments = ["import", str(archive.plan(plan)), str(out), "--from", "nifti", "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--regions", str(archive.folder / "dseg.tsv")])
    assert done.exit_code == 0, done.output
    store = open_store(str(out))
    assert store.header.region_names[7] == "right putamen"
    regions = store.read(range(SLICES)).regions_NYX
    assert regions is not None
    np.testing.assert_array_equal(regions, labels())
    columns = np.flatnonzero((regions == 2).any(axis=(0, 1)))
    assert columns.max() < SIZE // 2, "columns run from the left hand to the right"


def test_measured_mixtures_have_regions_too(archive, simulated, tmp_path: Path) -> None:
    (archive.folder / "dseg.tsv").write_text(TABLE)
    write_labels(archive.folder / "mix_dseg.nii.gz", labels())
    protocol: dict[str, list[float]] = {"FrameTimesStart": [], "FrameDuration": []}
    for start, seconds in zip(*_p1(), strict=True):
        protocol["FrameTimesStart"].append(start)
        protocol["FrameDuration"].append(seconds)
    archive.sidecar("mix_pet", protocol | {"Units": "kBq/mL", "ImageDecayCorrected": False})
    name = archive.image("mix_pet", simulated[0].direct_SKTYX.sum(axis=1)).name
    subject = {"id": "one", "mixture": {"image": name}}
    plan = {
        "tracers": ["fmz", "fdg"],
        "protocol": "p1",
        "regions": "dseg.tsv",
        "subjects": [subject],
    }
    header = import_study(opened(archive, plan), str(tmp_path / "m.zarr"), tmp_path / "map.json")
    assert (header.has_truth, header.region_names[2]) == (False, "left putamen")


def _p1() -> tuple[tuple[float, ...], tuple[float, ...]]:
    from dtsinn.core.protocol import load_protocol

    protocol = load_protocol("p1")
    return protocol.frame_start, protocol.frame_duration


@pytest.mark.parametrize(
    ("write", "said"),
    [
        ({"values": labels()[:, :-1]}, "rows and columns"),
        ({"values": labels()[:-1]}, "slices"),
        ({"values": labels(), "voxel": (4.0, 3.0, 2.5)}, "voxel"),
        ({"values": labels(), "origin": (20.0, -35.0, 12.0)}, "is not registered to its scan"),
        ({"values": labels().astype(np.int16) + 300}, "label 307; wanted labels from 0 to 254"),
        ({"values": labels() + np.uint8(1)}, "label 1 has no name"),
        ({"values": labels() + np.float32(0.5)}, "wanted whole ones from 0 on"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_line(labelled, write, said: str) -> None:
    archive, plan = labelled
    write_labels(archive.folder / "person-0-fmz_dseg.nii.gz", **write)
    with pytest.raises(InputError) as caught:
        opened(archive, plan, regions=archive.folder / "dseg.tsv").read(0)
    message = str(caught.value)
    assert said in message
    assert message.startswith("subjects.0.regions")
    assert "\n" not in message
    assert "person" not in message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("index,name\n1,x\n", "has no columns index and name"),
        ("index\tname\n300\tx\n", "row 1: label 300; wanted labels from 0 to 254"),
        ("index\tname\none\tx\n", "row 1; wanted a whole number as index"),
        ("index\tname\n1\tx\n1\ty\n", "row 2: label 1 stands twice"),
        ("index\tname\n1\tx\n2\tx\n", "row 2: its name stands twice"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(tmp_path, table: str, said: str) -> None:
    path = tmp_path / "dseg.tsv"
    path.write_text(table)
    with pytest.raises(InputError) as caught:
        read_names(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_asked_for(labelled, tmp_path: Path) -> None:
    archive, plan = labelled
    with pytest.raises(InputError, match="the table of regions cannot be read"):
        opened(archive, plan, regions=tmp_path / "none.tsv")
    plan["subjects"][0]["regions"] = "mine.nii.gz"
    with pytest.raises(InputError, match=r"subjects\.0\.regions: nothing names its labels"):
        opened(archive, plan)
    with pytest.raises(InputError, match=r"subjects\.0\.regions: no such file"):
        opened(archive, plan, regions=archive.folder / "dseg.tsv")
    (tmp_path / "mat.yaml").write_text(yaml.safe_dump({}))
    with pytest.raises(InputError, match="regions; got a table with mat"):
        IMPORTERS["mat"].open(tmp_path, tmp_path / "mat.yaml", tmp_path / "dseg.tsv")
