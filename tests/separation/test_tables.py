"""Curves and kinetic parameters: with input functions, and without."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import dtsinn
from dtsinn.core.errors import InputError
from tests.support.independent_scan import INJECTED_S, REGIONS, Head, write_labels


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


def test_an_input_that_ends_early_is_refused(
    model: Path, scan: Path, head: Head, tmp_path: Path
) -> None:
    given = write_input(tmp_path / "input.tsv", head)
    given.write_text("\n".join(given.read_text().splitlines()[:90]))
    with pytest.raises(InputError, match="does not cover the scan of f"):
        dtsinn.separate(scan, model, tmp_path / "out", input=given)
