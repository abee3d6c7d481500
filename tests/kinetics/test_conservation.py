"""Conservation: sums against the mixture and against the truth, tiles, and z by the noise law."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dtsinn.core.protocol import load_protocol
from dtsinn.core.seeds import generator
from dtsinn.data.body import truth_of
from dtsinn.data.store import Samples, Store
from dtsinn.kinetics.conservation import (
    TILE_PIXELS,
    NoiseLaw,
    SubjectConservation,
    applicable_frames,
    body_tiles,
    measure_conservation,
    noise_law,
    summarise_conservation,
)
from dtsinn.kinetics.curves import Regions
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.simulation.scanner.noise import correlated_noise, noise_sd


def test_a_missing_part_is_found_in_body_tile_and_region(
    brains: Store, heads: list[Samples]
) -> None:
    protocol, names = brains.header.protocol, brains.header.region_names
    half = np.repeat(heads[0].mixture_NTYX[:, None] / 2, 2, axis=1)
    less = half.copy()
    less[:, 0, 10] *= 0.9  # half of the activity of frame 11, a tenth of it lost
    found = measure_conservation(heads[0], less, protocol, names)
    assert found.body[10] == pytest.approx(-5.0, abs=1e-3)
    assert found.tile[10] == pytest.approx(-5.0, abs=1e-3)
    assert found.body[9] == pytest.approx(0.0, abs=1e-3)
    truth = truth_of(heads[0]) * 1.02
    against = measure_conservation(heads[0], truth, protocol, names)
    for values in against.regions.values():
        assert values == pytest.approx([2.0] * protocol.frames, abs=1e-3)
    both = summarise_conservation([found, against], protocol)
    assert both is not None
    assert both.regions == pytest.approx(abs(both.regions or 0))
    alone = summarise_conservation([found], protocol)
    assert alone is not None
    assert alone.body == pytest.approx(5.0, abs=1e-3)
    assert alone.before_second == pytest.approx(0.0, abs=1e-3)


def test_a_region_of_few_subjects_is_not_the_worst(brains: Store) -> None:
    protocol = brains.header.protocol
    flat, none = [2.0] * protocol.frames, [None] * protocol.frames
    common = SubjectConservation(body=flat, tile=none, regions={"cortex": flat})
    one = dataclasses.replace(common, regions={"cortex": flat, "lesion": [50.0] * protocol.frames})
    for others, worst in ((4, 2.0), (0, 50.0)):  # of a single subject, whatever it has
        found = summarise_conservation([one, *[common] * others], protocol)
        assert found is not None
        assert found.regions == worst


def test_tiles_part_the_body_and_none_is_small(heads: list[Samples]) -> None:
    body = heads[0].regions_NYX > 0  # type: ignore[operator]
    tiles = body_tiles(body)
    count = body.sum(axis=0).ravel()
    assert len(tiles) > 1
    assert all(count[tile].sum() >= TILE_PIXELS for tile in tiles)
    assert sorted(np.concatenate(tiles)) == np.flatnonzero(count).tolist()
    assert body_tiles(body[:, :8, :8]) == []


def test_a_frame_that_contains_an_injection_is_not_applicable() -> None:
    p1 = load_protocol("p1")
    assert applicable_frames(p1).all()  # injections stand at edges
    inside = dataclasses.replace(p1, injection_time=(0.0, 1260.0))
    assert np.flatnonzero(~applicable_frames(inside)).tolist() == [6]


def test_z_of_the_truth_is_standard_normal(brains: Store, heads: list[Samples]) -> None:
    meter = SubjectMeter.of(brains)
    measured = [meter.measure(one, truth_of(one)).conservation for one in heads]
    z = np.array([value for one in measured for values in one.z.values() for value in values])
    assert z.size > 300
    assert z.std() == pytest.approx(1.0, abs=0.12)
    found = summarise_conservation(measured, brains.header.protocol)
    assert found is not None
    assert found.z == pytest.approx(1.96, abs=0.35)
    assert found.regions == 0.0


def test_the_sd_of_a_region_is_that_of_drawn_noise(heads: list[Samples]) -> None:
    labels = heads[0].regions_NYX
    assert labels is not None
    regions = Regions.of(labels, ())
    law = NoiseLaw(alpha=5.0, fwhm_mm=6.0, pixel_mm=4.0)
    total = truth_of(heads[0]).sum(axis=1)[:, 12:14]
    duration = np.array([300.0, 600.0])
    sd = noise_sd(total.astype(float), duration, law.alpha)
    rng = generator(2, "noise")
    draws = [
        regions.means((sd * correlated_noise(rng, sd.shape, 4.0, 6.0))[:, None])[0]
        for _ in range(300)
    ]
    np.testing.assert_allclose(
        np.std(draws, axis=0), law.region_sd(total, regions, duration), rtol=0.2
    )


def test_a_law_is_only_that_of_noise_added_to_images() -> None:
    image = {"model": "image", "level": "mid", "alpha": 6.3}
    assert noise_law(image, 6.0, 4.0) == NoiseLaw(alpha=6.3, fwhm_mm=6.0, pixel_mm=4.0)
    assert noise_law({"model": "osem", "level": "mid"}, 6.0, 4.0) is None
    assert noise_law({"model": "image"}, 6.0, 4.0) is None
