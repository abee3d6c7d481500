"""Curves and kinetic parameters: with input functions, and without."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import dtsinn
from dtsinn.core.errors import InputError
from dtsinn.data.store import open_store
from dtsinn.kinetics.compartments import ModelInput, fit_regions
from dtsinn.kinetics.curves import tracer_frames
from dtsinn.networks.closed_form import fit_linear
from dtsinn.separation.inputs import read_inputs
from dtsinn.separation.tables import TracerCurves, write_tables
from tests.separation.conftest import package_of, store_of
from tests.support.independent_scan import (
    FINE,
    HALF_LIFE_S,
    INJECTED_S,
    REGIONS,
    Head,
    make_head,
    write_labels,
    write_scan,
)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def write_input(path: Path, head: Head, columns: tuple[str, ...] = ("fmz", "fdg")) -> Path:
    """Every 5 s for 5 min after an injection, else every minute."""
    time = head.plasma["time_s"]
    dense = np.zeros(len(time), bool)
    for injected in INJECTED_S:
        dense |= (time >= injected) & (time < injected + 300)
    kept = np.flatnonzero(
        (dense & (np.arange(len(time)) % 5 == 0)) | (np.arange(len(time)) % 60 == 0)
    )
    rows = ["\t".join(["time_s", *columns])]
    curves = {"total": head.plasma["fmz"] + head.plasma["fdg"], **head.plasma}
    rows += ["\t".join(str(curves[name][i]) for name in ("time_s", *columns)) for i in [*kept, -1]]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_input_functions_give_v_t_and_ki(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    labels, given = write_labels(tmp_path, head), write_input(tmp_path / "input.tsv", head)
    found = dtsinn.separate(scan, model, tmp_path / "out", rois=labels, input=given)
    place = found.folder / "sub-07" / "pet"
    volumes = table(place / "sub-07_trc-FMZ_desc-combinedregions_tacs.tsv")
    assert {row["region"] for row in volumes} == set(REGIONS.values())
    grey = next(row for row in volumes if row["region"] == "grey")
    assert float(grey["volume_mm3"]) == (head.labels == 1).sum() * 80
    assert len(volumes) == 4 * 18
    distribution = {row["region"]: float(row["V_T"])
                    for row in table(place / "sub-07_trc-FMZ_model-Logan_kinpar.tsv")}  # fmt: skip
    # K1 / k2 of the grey matter are 0.30 / 0.055, each drawn within 15 %.
    assert distribution["grey"] == pytest.approx(0.30 / 0.055, rel=0.35)
    assert distribution["grey"] > 3 * distribution["white"]
    influx = {row["region"]: float(row["Ki"])
              for row in table(place / "sub-07_trc-FDG_model-Patlak_kinpar.tsv")}  # fmt: skip
    assert influx["lesion"] > 2 * influx["grey"] > 2 * influx["white"] > 0


def test_frames_of_the_first_pass_give_compartments(tmp_path: Path) -> None:
    """FINE has 30 s frames for FMZ and frames of a minute when FDG comes."""
    store = open_store(str(store_of([make_head(seed, FINE) for seed in (100, 101, 102)],
                                    tmp_path / "heads.zarr")))  # fmt: skip
    network = fit_linear((store,), lambda done, of: None)
    model = package_of(network, tmp_path / "fine", trained_on=store.header)
    head = make_head(1, FINE)
    scan, labels = write_scan(tmp_path, head), write_labels(tmp_path, head)
    found = dtsinn.separate(
        scan, model, tmp_path / "out", rois=labels, input=write_input(tmp_path / "input.tsv", head)
    )
    place = found.folder / "sub-07" / "pet"
    path = place / "sub-07_trc-FMZ_model-TCM_kinpar.tsv"
    rows = {row["region"]: row for row in table(path)}
    assert list(rows["grey"]) == ["region", "K1", "k2", "vB"]
    # Each was drawn within 15 % of these; neighbours spill over.
    for region, K1, k2 in (("grey", 0.30, 0.055), ("white", 0.11, 0.10)):
        assert float(rows[region]["K1"]) == pytest.approx(0.95 * K1, rel=0.25)
        assert float(rows[region]["k2"]) == pytest.approx(k2, rel=0.25)
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["K1"]["Units"] == "mL/cm3/min"
    assert about["k2"]["Units"] == "1/min"
    true = np.stack([head.tracers[:, head.labels == label].mean(axis=1) for label in (1, 2)])
    frames = tracer_frames(store.header.protocol, 0, HALF_LIFE_S[0])
    given = read_inputs(tmp_path / "input.tsv", ("fmz", "fdg"), 0.0, store.header.protocol)
    time, plasma = given.curves["fmz"]
    fit = fit_regions(
        frames.correct(true[:, 0]),
        ModelInput(time_I=time, plasma_I=plasma, blood_I=plasma, frames=frames),
        tissues=1,
    )
    assert [float(rows[name]["K1"]) for name in ("grey", "white")] == pytest.approx(fit.K1, rel=0.1)
    assert not (place / "sub-07_trc-FDG_model-TCM_kinpar.tsv").exists()
    assert (place / "sub-07_trc-FDG_model-Patlak_kinpar.tsv").exists()


def test_what_a_fit_gives_stands_beside_k1_and_its_interval(tmp_path: Path) -> None:
    own = TracerCurves(
        name="fdg",
        regions=("grey", "white"),
        volume_R=np.ones(2),
        frames=None,
        curve_RT=np.zeros((2, 0)),
        values={"K1": {"grey": 0.1, "white": 0.05}},
        rates={"k2": {"grey": 0.2, "white": 0.1}, "k3": {"grey": 0.07}},
        bounds={"K1": {"grey": (0.09, 0.11)}},
    )
    write_tables([own], tmp_path, ["sub-07_trc-FDG"])
    grey, white = table(tmp_path / "sub-07_trc-FDG_model-TCM_kinpar.tsv")
    assert list(grey.items()) == [
        ("region", "grey"),
        ("K1", "0.1"),
        ("lower", "0.09"),
        ("upper", "0.11"),
        ("k2", "0.2"),
        ("k3", "0.07"),
    ]
    assert (white["lower"], white["k3"]) == ("n/a", "n/a")
    about = json.loads((tmp_path / "sub-07_trc-FDG_model-TCM_kinpar.json").read_text())
    assert "interval of K1" in about["lower"]["Description"]


def test_without_input_and_reference_there_is_no_parameter(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out", rois=write_labels(tmp_path, head))
    assert not list(found.folder.rglob("*_kinpar.tsv"))
    assert [own.lacking for own in found.curves] == [
        "there is no input function (--input), and no region brainstem",
        "there is no input function (--input), and no reference region",
    ]


def test_a_reference_region_gives_ratios_and_nothing_else(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    labels = write_labels(tmp_path, head)
    names = labels.with_name("sub-07_dseg.tsv")
    names.write_text(names.read_text().replace("white", "brainstem"))
    found = dtsinn.separate(scan, model, tmp_path / "out", rois=labels)
    fmz, fdg = found.curves
    assert set(fmz.values) == {"DVR", "SUVR"}
    assert fdg.values == {}
    assert fmz.values["DVR"]["grey"] > 2
    assert "brainstem" not in fmz.values["DVR"]


def test_without_regions_there_is_the_body(model: Path, scan: Path, tmp_path: Path) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out")
    assert found.curves[0].regions == ("body",)
    assert found.curves[0].lacking == "no regions were given (--rois)"


@pytest.mark.parametrize("columns", [("total",), ("fmz",)])
def test_one_curve_holds_both_tracers(
    model: Path, scan: Path, head: Head, tmp_path: Path, columns: tuple[str, ...]
) -> None:
    given = write_input(tmp_path / "input.tsv", head, columns)
    with pytest.raises(InputError, match="total activity holds both tracers"):
        dtsinn.separate(scan, model, tmp_path / "out", input=given)
    assert not (tmp_path / "out").exists()


def test_two_columns_of_one_tracer_are_not_chosen_from(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    given = write_input(tmp_path / "input.tsv", head)
    head_row, *rows = given.read_text().splitlines()
    rows = [f"{row}\t{row.split()[1]}" for row in rows]
    given.write_text("\n".join([f"{head_row}\tfmz_total", *rows]))
    with pytest.raises(InputError, match="fmz_total; wanted time_s, fmz and fdg"):
        dtsinn.separate(scan, model, tmp_path / "out", input=given)


@pytest.mark.parametrize(("column", "factor"), [(1, 1000), (2, 1000), (2, 1e-4), (1, 0)])
def test_an_input_in_another_unit_is_refused(
    model: Path, scan: Path, head: Head, tmp_path: Path, column: int, factor: float
) -> None:
    given = write_input(tmp_path / "input.tsv", head)
    title, *rows = [line.split("\t") for line in given.read_text().splitlines()]
    for row in rows:
        row[column] = str(factor * float(row[column]))
    given.write_text("\n".join(map("\t".join, [title, *rows])))
    words = f"the input of {title[column]} is in another unit than kBq/mL; got "
    with pytest.raises(InputError, match=words):
        dtsinn.separate(scan, model, tmp_path / "out", input=given)
    assert not (tmp_path / "out").exists()


def test_an_input_that_ends_early_is_refused(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    given = write_input(tmp_path / "input.tsv", head)
    given.write_text("\n".join(given.read_text().splitlines()[:90]))
    with pytest.raises(InputError, match="does not cover the scan of f"):
        dtsinn.separate(scan, model, tmp_path / "out", input=given)
