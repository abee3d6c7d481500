"""What of a cell a training had seen is said part by part, and not guessed."""

from __future__ import annotations

import dataclasses

import pytest

from dtsinn.core.protocol import load_protocol
from dtsinn.deploy.facts import Lineage, TrainingData
from dtsinn.deploy.info import SeparatorInfo, info_text, read_info
from dtsinn.evaluation.novelty import Novelty, novelty
from dtsinn.networks.invertible import InvertibleConfig

ALL = ("as trained",) * 6
UNTOLD = "phantom", "population", "noise", "conditions"
USUAL = {"phantom": "brain", "digest": "", "population": "varied", "conditions": "usual"}


def data(
    protocol: str = "p1",
    phantom: str = "brain",
    noise: str = "mid",
    population: str = "varied",
    conditions: str = "usual",
    tracers: tuple[str, str] = ("fmz", "fdg"),
) -> TrainingData:
    made = load_protocol(protocol)
    return TrainingData(
        tracers=tracers,
        protocol=made.name,
        frame_edges=made.frame_edges,
        injection_time=made.injection_time,
        phantom=phantom,
        noise=noise,
        population=population,
        conditions=conditions,
    )


def seen(*unknown: str, **new: str) -> tuple[str, ...]:
    """What is as trained but for what is named."""
    known = dict.fromkeys(vars(Novelty()), "as trained") | dict.fromkeys(unknown, "unknown")
    return tuple((known | new).values())


@pytest.fixture
def info(protocol) -> SeparatorInfo:
    return SeparatorInfo(
        model=InvertibleConfig(blocks=1, width=8, depth=3),
        tracers=("fmz", "fdg"),
        protocol="p1",
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=(1224.0, 6588.0),
        lineage=Lineage(
            run="r", config={}, store_path="s.zarr", store_digest="ab" * 32,
            code_version="0.1.0", seed=0, further_stores="cd" * 32,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trained", "cell", "expected"),
    [
        ((data(),), {}, ALL),
        ((data(),), {"phantom": "thorax"}, seen(phantom="new")),
        ((data(),), {"noise": "high"}, seen(noise="new")),
        ((data(),), {"noise": "osem mid"}, seen(noise="new")),
        ((data(),), {"population": "uniform"}, seen(population="new")),
        ((data(),), {"conditions": "dose x 2"}, seen(conditions="new")),
        ((data(conditions="dose x 2"),), {"conditions": "dose x 2"}, ALL),
        ((data(),), {"tracers": ("raclopride", "fdg")}, seen(pair="new")),
        ((data(),), {"protocol": "p3"}, seen(protocol="new")),
        ((data(), data("p3", "thorax")), {"protocol": "p3", "phantom": "thorax"}, ALL),
        # Each pair in a protocol of its own: the other's is new to it.
        ((data(), data("p3", tracers=("dtbz", "fdg"))), {"protocol": "p3"}, seen(protocol="new")),
        ((data(), data("p3", tracers=("dtbz", "fdg"))),
         {"protocol": "p3", "tracers": ("dtbz", "fdg")}, ALL),
        ((data(), data("p3", tracers=("dtbz", "fdg"))),
         {"protocol": "p3", "tracers": ("raclopride", "fdg")}, seen(pair="new")),
        # Of measured scans little is told, and older packages say nothing or not all.
        ((data(phantom="", noise="measured", population="", conditions=""),),
         {"phantom": "", "noise": "measured", "population": "", "conditions": ""},
         seen(*UNTOLD)),
        ((data(phantom="", noise="measured"),), {}, seen("phantom", noise="new")),
        ((data(population="", conditions=""),), {}, seen("population", "conditions")),
        ((), {}, seen(*UNTOLD)),
        ((), {"digest": "ab" * 32, "phantom": "thorax"}, ALL),
        ((), {"digest": "cd" * 32, "protocol": "p3"}, ALL),
    ],
)  # fmt: skip
def test_each_part_is_as_trained_new_or_unknown(info, scene, trained, cell, expected) -> None:
    if "protocol" in cell:
        cell = cell | {"protocol": load_protocol(cell["protocol"])}
    header = dataclasses.replace(scene.header, **(USUAL | cell))
    lineage = dataclasses.replace(info.lineage, trained_on=trained)
    found = novelty(dataclasses.replace(info, lineage=lineage), header)
    assert tuple(vars(found).values()) == expected
    assert found.trained_on == (expected[:2] == ALL[:2] and "new" not in expected)


def test_what_a_training_saw_is_read_back_and_said_in_words(info, tmp_path) -> None:
    lineage = dataclasses.replace(info.lineage, trained_on=(data(), data("p3", noise="high")))
    known = dataclasses.replace(info, lineage=lineage)
    (tmp_path / "separator.json").write_text(info_text(known))
    assert read_info(tmp_path) == known
    some = Novelty(pair="as trained", protocol="new", phantom="new", noise="as trained")
    told = "pair, noise as trained; protocol, phantom new; population, conditions unknown"
    assert some.text() == told
