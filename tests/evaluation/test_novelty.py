"""What of a cell a training had seen is said part by part, and not guessed."""

from __future__ import annotations

import dataclasses

import pytest

from dtsinn.core.protocol import load_protocol
from dtsinn.deploy.facts import Lineage, TrainingData
from dtsinn.deploy.info import SeparatorInfo, info_text, read_info
from dtsinn.evaluation.novelty import Novelty, novelty
from dtsinn.networks.invertible import InvertibleConfig

ALL = ("as trained",) * 4


def data(protocol: str = "p1", phantom: str = "brain", noise: str = "mid") -> TrainingData:
    made = load_protocol(protocol)
    return TrainingData(
        tracers=("fmz", "fdg"),
        protocol=made.name,
        frame_edges=made.frame_edges,
        injection_time=made.injection_time,
        phantom=phantom,
        noise=noise,
    )


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
    ("trained", "cell", "seen"),
    [
        ((data(),), {}, ALL),
        ((data(),), {"phantom": "thorax"}, ("as trained", "as trained", "new", "as trained")),
        ((data(),), {"noise": "high"}, ("as trained", "as trained", "as trained", "new")),
        ((data(),), {"noise": "osem mid"}, ("as trained", "as trained", "as trained", "new")),
        ((data(),), {"tracers": ("raclopride", "fdg")}, ("new", *ALL[:3])),
        ((data(),), {"protocol": "p3"}, ("as trained", "new", *ALL[:2])),
        ((data(), data("p3", "thorax")), {"protocol": "p3", "phantom": "thorax"}, ALL),
        # Neither anatomy nor noise of measured scans is told, and older packages say nothing.
        ((data(phantom="", noise="measured"),), {"phantom": "", "noise": "measured"},
         ("as trained", "as trained", "unknown", "unknown")),
        ((data(phantom="", noise="measured"),), {},
         ("as trained", "as trained", "unknown", "new")),
        ((), {}, ("as trained", "as trained", "unknown", "unknown")),
        ((), {"digest": "ab" * 32, "phantom": "thorax"}, ALL),
        ((), {"digest": "cd" * 32, "protocol": "p3"}, ALL),
    ],
)  # fmt: skip
def test_each_part_is_as_trained_new_or_unknown(info, scene, trained, cell, seen) -> None:
    if "protocol" in cell:
        cell = cell | {"protocol": load_protocol(cell["protocol"])}
    header = dataclasses.replace(scene.header, **({"phantom": "brain", "digest": ""} | cell))
    lineage = dataclasses.replace(info.lineage, trained_on=trained)
    found = novelty(dataclasses.replace(info, lineage=lineage), header)
    assert tuple(vars(found).values()) == seen
    assert found.trained_on == (seen[:2] == ALL[:2] and "new" not in seen)


def test_what_a_training_saw_is_read_back_and_said_in_words(info, tmp_path) -> None:
    lineage = dataclasses.replace(info.lineage, trained_on=(data(), data("p3", noise="high")))
    known = dataclasses.replace(info, lineage=lineage)
    (tmp_path / "separator.json").write_text(info_text(known))
    assert read_info(tmp_path) == known
    some = Novelty(pair="as trained", protocol="new", phantom="new", noise="as trained")
    assert some.text() == "pair, noise as trained; protocol, phantom new"
