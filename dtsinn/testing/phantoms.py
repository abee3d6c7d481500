"""The conformance test of phantoms."""

from __future__ import annotations

import numpy as np

from dtsinn.simulation.anatomy.anatomy import OUTSIDE, Phantom
from dtsinn.testing.require import require

SLICES, SIZE = 5, 32


def check_phantom(phantom: Phantom) -> None:
    """Try what :class:`dtsinn.simulation.anatomy.anatomy.Phantom` promises.

    Args:
        phantom: The phantom; it need not be in the dictionary.

    Raises:
        AssertionError: A promise does not hold.
    """
    name, regions = type(phantom).__name__, phantom.regions
    require(isinstance(phantom, Phantom), f"{name} inherits from Phantom")
    require(regions[0] == OUTSIDE, f"{name}: the first region is OUTSIDE")
    names = {region.name for region in regions}
    require(len(names) == len(regions) <= 256, f"{name}: regions have names of their own")
    for region in regions[1:]:
        require(region.activity > 0, f"{name}: {region.name} has activity, or tissue NOTHING")
        require(0 <= region.attenuation < 0.2, f"{name}: {region.name} attenuates, per cm")
    positions = phantom.slice_positions(np.random.default_rng(0), SLICES)
    require(positions.shape == (SLICES,), f"{name}: there are as many slices as asked for")
    require(bool((np.diff(positions) > 0).all()), f"{name}: slices ascend")
    anatomy, again, other = (
        phantom.draw(np.random.default_rng(seed), positions, SIZE) for seed in (0, 0, 1)
    )
    fractions, shape = anatomy.fractions, (SLICES, len(regions), SIZE, SIZE)
    require(fractions.shape == shape, f"{name}: fractions are [slices, regions, rows, columns]")
    require(fractions.dtype == np.float32, f"{name}: fractions are float32")
    require(bool(fractions.min() >= 0), f"{name}: fractions are not negative")
    whole = np.allclose(fractions.sum(axis=1), 1.0, rtol=0, atol=1e-5)
    require(whole, f"{name}: the fractions of a pixel sum to 1")
    labels = np.array_equal(anatomy.labels, fractions.argmax(axis=1))
    require(labels, f"{name}: a label is that of the largest share")
    kept = np.array_equal(anatomy.slice_position, positions)
    require(kept, f"{name}: slices lie where they were asked for")
    same = np.array_equal(fractions, again.fractions)
    require(same, f"{name}: one generator state gives one subject")
    require(bool((anatomy.labels != other.labels).any()), f"{name}: subjects differ")
