"""Conformance tests: what every network, loss term, sampler and phantom promises, tried on any.

dtsinn's own pass them, and one of another package should: each function takes the class, tries the
contract, and raises an :class:`AssertionError` that says in a sentence what does not hold.
"""

from dtsinn.testing.losses import check_loss
from dtsinn.testing.networks import check_export, check_network, small_config
from dtsinn.testing.phantoms import check_phantom
from dtsinn.testing.samplers import check_sampler

__all__ = [
    "check_export",
    "check_loss",
    "check_network",
    "check_phantom",
    "check_sampler",
    "small_config",
]
