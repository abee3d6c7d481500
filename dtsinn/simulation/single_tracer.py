"""Single-tracer scans of a simulated store's subjects: what two separate scans would have shown.

They are what a separation is held against: the same subject, dose, frames and noise law.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import from_mapping
from dtsinn.core.errors import DtsinnError, InputError, RunError
from dtsinn.data.body import truth_of
from dtsinn.data.store import Samples, Store
from dtsinn.simulation.images import render_single_tracers
from dtsinn.simulation.request import StudyRequest

TOLERANCE = 1e-3
"""Part of the brightest voxel by which the truth made again may miss the store's: float16 does by
less, another version of the simulator by more."""
SingleTracerScan = Callable[[Samples], NDArray[np.float32]]
"""All slices of a subject -> tracers [N, K, T, Y, X] in kBq/mL."""


def request_of(store: Store) -> StudyRequest:
    """What was asked for when a store was simulated.

    Raises:
        InputError: It was not, or by a version whose request means nothing today.
    """
    attributes: Mapping[str, Any] = dict(store.group.attrs)
    if store.header.origin != "simulated" or "request" not in attributes:
        raise InputError("the store is not simulated", got=store.header.path)
    try:
        return from_mapping(StudyRequest, attributes["request"], f"{store.header.path}: request")
    except DtsinnError as error:
        raise InputError(
            f"the store's request cannot be simulated any more ({error.what})"
        ) from None


class RescanError(RunError):
    """A subject cannot be scanned again as the store shows it."""


def single_tracer_scans(store: Store) -> SingleTracerScan | str:
    """What makes single-tracer scans of a store's subjects, or why nothing can.

    The request in the store's attributes is simulated again. The names in it mean what they mean
    today: the scan raises :class:`RescanError` where a subject's truth comes out otherwise.
    """
    if store.header.origin == "simulated" and store.header.labels != "truth":
        return f"the store's labels are {store.header.labels or 'not known'}, not the truth"
    try:
        request = request_of(store)
    except DtsinnError as error:
        return error.what

    def scan(samples: Samples) -> NDArray[np.float32]:
        subject = str(samples.subject_N[0])
        try:
            alone, truth = render_single_tracers(request, int(subject.rsplit("-", 1)[-1]))
        except (DtsinnError, ValueError) as error:
            raise RescanError(f"subject {subject!r} cannot be scanned again", got=error) from None
        stored = truth_of(samples)
        if stored.shape != truth.shape or not np.allclose(
            truth, stored, rtol=0, atol=TOLERANCE * float(np.abs(stored).max())
        ):
            raise RescanError(
                f"subject {subject!r} cannot be scanned again",
                got="another truth than the store's",
                wanted="the simulator that made the store",
            )
        return alone

    return scan
