"""Tracers: the shipped ones are complete and say their sources, wrong ones are refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtsinn.core.config import find_config, from_mapping, read_yaml, set_key, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIVES
from dtsinn.core.tracer import Tracer, load_tracer, tracer_names

SHIPPED = [
    "ace", "atsm", "av45", "dtbz", "fapi", "fdg", "fdopa", "fet", "flt", "fmz", "met", "mpdx",
    "nh3", "pib", "psma", "ptsm", "raclopride", "rb82",
]  # fmt: skip
BRAIN = [
    "csf", "white", "frontal", "parietal", "temporal", "occipital", "hippocampus", "thalamus",
    "caudate", "putamen", "cerebellum", "brainstem", "tumour",
]  # fmt: skip
BODY = ["muscle", "lung", "myocardium", "liver", "bone", "lesion"]

CITATIONS = (
    "Appl Sci 13(7):4089",
    "BayesPET",
    "Feng, Huang, Wang 1993",
    "JCBFM 1991",
    "JCBFM 9600554",
    "JNM 46:274",
    "JNM table 81925",
    "MIRT 2021;30:69",
    "PMC7822999",
    "PMOD",
    "TPC, after Lederer 1967",
    "XCAT_mask_look_up_table",
    "as in the tables cited above",
    "mscipio/Accelerating-PET-Kinetic-Modeling",
    "qurit/dynamicPET",
)
"""All that a source may name; another one is added here after it has been read."""


def sources(node: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every source in the plain data of a tracer, with the key where it stands."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from sources(value, f"{where}{key}.")
        elif key == "source" or where == "sources.":
            yield f"{where}{key}", value


def test_the_shipped_tracers_are_these() -> None:
    assert tracer_names() == SHIPPED
    labels = [load_tracer(name).label for name in SHIPPED]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", tracer_names())
def test_every_shipped_tracer_loads_and_survives_a_round_trip(name: str) -> None:
    tracer = load_tracer(name)
    assert tracer.name == name
    assert from_mapping(Tracer, to_mapping(tracer), "again") == tracer
    assert tracer.decay_constant * tracer.half_life == pytest.approx(math.log(2))


@pytest.mark.parametrize("name", tracer_names())
def test_every_shipped_tracer_has_all_tissues_so_that_it_fits_every_phantom(name: str) -> None:
    assert sorted(load_tracer(name).tissues) == sorted(BRAIN + BODY)


@pytest.mark.parametrize("name", tracer_names())
def test_every_number_of_a_shipped_tracer_has_a_known_source_or_says_uncited(name: str) -> None:
    given = dict(sources(to_mapping(load_tracer(name))))
    assert {"input.source", "sources.half_life", "sources.spread"} <= set(given)
    assert sum(key.startswith("tissues.") for key in given) == len(BRAIN + BODY)
    for key, source in given.items():
        known = source.startswith("uncited") or any(word in source for word in CITATIONS)
        assert known, f"{key}: {source!r}"


@pytest.mark.parametrize("name", tracer_names())
def test_the_half_life_is_that_of_the_isotope_and_the_label_names_it(name: str) -> None:
    tracer = load_tracer(name)
    element, mass = tracer.isotope.split("-")
    assert tracer.half_life == HALF_LIVES[tracer.isotope]
    assert tracer.label.startswith(f"{mass}{element}")


@pytest.mark.parametrize("name", tracer_names())
def test_a_one_tissue_file_has_no_k3_and_a_two_tissue_file_always_has_it(name: str) -> None:
    mapping = read_yaml(find_config("tracers", name))
    for region, tissue in mapping["tissues"].items():
        keys = {"K1", "k2", "vB", "source"} | (
            {"k3", "k4"} if mapping["model_order"] == 2 else set()
        )
        assert set(tissue) == keys, region


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("half_life", 0, "half_life"),
        ("half_life", 20.4, "about 1224 s; try seconds, not minutes"),
        ("half_life", 6588, "half_life of C-11"),
        ("name", "", "tracer: name; got ''"),
        ("name", "a,b", "letters, digits"),
        ("name", "../up", "letters, digits"),
        ("tissues.frontal.k_3", 0.1, "try tissues.frontal.k3"),
        ("tissues.white.source", " ", "tissues.white.source is empty"),
        ("half_life", -5.0, "half_life"),
        ("half_life", math.inf, "half_life"),
        ("dose_MBq", 0, "dose_MBq"),
        ("dose_MBq", 370e6, "dose; got 3.7e+08 MBq; wanted 0.1 to 10000 MBq"),
        ("model_order", 3, "model_order"),
        ("tissues.white.K1", -0.1, "tissues.white.K1"),
        ("tissues.white.k2", math.nan, "tissues.white.k2"),
        ("tissues.white.vB", 1.0, "vB"),
        ("tissues.white.k3", 0.1, "one-tissue"),
        ("tissues.white.K2", 0.1, "tissues.white.K2"),
        ("tissues", {}, "tissues"),
        ("input.feng.l2", 0.0, "input.feng.l2"),
        ("input.feng.A1", -1.0, "input.feng.A1"),
        ("input.feng", None, "neither feng nor table"),
        ("input.infusion_s", -30.0, "input.infusion_s"),
        ("input.A1", 10.0, "input.A1"),
        ("input.reference_weight_kg", 0, "reference_weight_kg"),
        ("input.parent.half_time_min", 0, "parent.half_time_min"),
        ("spread.subject.K1", 1.5, "spread.subject.K1"),
        ("spread.voxel", -0.1, "spread.voxel"),
        ("readout_regions", ["frontal", "csf"], "readout_regions; got 'csf'"),
        ("readout_regions", ["frontal", "frontal"], "none twice"),
        ("readout_regions", [" "], "readout_regions; got ' '"),
        ("readout.method", "loogan", "readout.method; got 'loogan'"),
        ("readout.quantity", "Ki", "V_T, as logan gives"),
        ("readout.start_min", 1200, "at most 600; try minutes, not seconds"),
        ("readout.start_min", -1, "readout.start_min"),
        ("readout.reference", "pons", "readout.reference; got 'pons'"),
        ("readout.source", " ", "readout.source is empty"),
        ("half_live", 1224, "half_life"),
        ("half_life", "long", "half_life"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object, said: str) -> None:
    mapping = read_yaml(find_config("tracers", "fmz"))
    set_key(mapping, key, value)
    with pytest.raises(InputError) as caught:
        from_mapping(Tracer, mapping, "fmz.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", tracer_names())
def test_the_regions_that_a_tracer_is_given_for_are_the_phantoms(name: str) -> None:
    named = load_tracer(name).readout_regions
    assert named
    assert set(named) <= set(BRAIN + BODY) - {"csf"}


def test_a_file_without_readout_regions_or_with_unknown_ones_loads() -> None:
    mapping = read_yaml(find_config("tracers", "fdg"))
    set_key(mapping, "readout_regions", ["my own region"])
    assert from_mapping(Tracer, mapping, "fdg.yaml").readout_regions == ("my own region",)
    del mapping["readout_regions"], mapping["readout"]
    tracer = from_mapping(Tracer, mapping, "fdg.yaml")
    assert (tracer.readout_regions, tracer.readout) == ((), None)


def test_a_file_of_the_user_loads_and_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    mapping = read_yaml(find_config("tracers", "fdg")) | {"name": "mine"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    assert load_tracer(str(path)).name == "mine"
    with pytest.raises(InputError, match="fdg"):
        load_tracer("fgd")


def test_a_missing_key_is_named() -> None:
    mapping = read_yaml(find_config("tracers", "fdg"))
    del mapping["input"]["feng"]["A2"]
    with pytest.raises(InputError, match=r"input\.feng\.A2"):
        from_mapping(Tracer, mapping, "fdg.yaml")


@pytest.mark.parametrize("half_life", [109.8, 1.83, 73440.0, 4.18, 1e9])
def test_a_half_life_in_another_unit_is_refused_of_any_isotope(half_life: float) -> None:
    tracer = load_tracer("fdg")
    assert dataclasses.replace(tracer, isotope="own", half_life=30000.0).half_life == 30000.0
    with pytest.raises(
        InputError, match=r"half_life; got .*try seconds, not minutes, or an isotope"
    ):
        dataclasses.replace(tracer, isotope="own", half_life=half_life)
