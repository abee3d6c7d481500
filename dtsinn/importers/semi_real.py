"""Semi-real mixtures: two registered scans of one tracer each, brought to one protocol and added.

What is added is activity actually present, so that the sum is what one scan of both tracers, the
second injected later, would have measured, but for dead time, scatter and noise. The labels are
the two scans themselves, with their noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import check_before_injection
from dtsinn.core.protocol import Protocol
from dtsinn.importers.files import fingerprint
from dtsinn.importers.fitting import (
    describe,
    refuse_other_grid,
    refuse_other_tracer,
    refuse_unregistered,
)
from dtsinn.importers.frames import Frames, refuse_coarse, resample, resampling_weights
from dtsinn.importers.grid import affine_of
from dtsinn.importers.plan import PairsPlan
from dtsinn.importers.plan_file import PlannedTracer
from dtsinn.importers.remarks import format_remarks, injections_inside
from dtsinn.importers.scan import Scan
from dtsinn.importers.source import Source, SourceSubject, StudyShape

Pair = tuple[Scan, Scan]
PLACES = ("first", "second")
"""Names of the two scans in the plan, by order of injection."""
BYTES_AT_ONCE = 2**30
"""Source voxels in memory at a time, as float64: a compressed file is unpacked from its
start for every part of it that is read."""


class SemiRealStudy(Source):
    """Pairs of scans as a :class:`dtsinn.importers.source.Source`."""

    def __init__(
        self,
        plan: PairsPlan,
        pairs: Sequence[Pair],
        attributes: dict[str, Any],
    ) -> None:
        """Check that the pairs make one store.

        Args:
            plan: Of the pairs.
            pairs: The scans of each subject.
            attributes: What the store shall say beside what this class knows.

        Raises:
            InputError: Two scans of a pair are not on one grid, subjects differ in size or voxel
                size, a scan does not cover the protocol, is far coarser than it, or is of
                another nuclide than its tracer.
        """
        subjects, tracers, protocol = plan.subjects, plan.tracers, plan.protocol
        self._pairs = pairs
        self.fingerprint = fingerprint(
            [subject.settings for subject in plan.subjects],
            [[scan.stamps for scan in pair] for pair in pairs],
        )
        self._weights = [
            _weights(pair, tracers, protocol, subject.where)
            for pair, subject in zip(pairs, subjects, strict=True)
        ]
        first = pairs[0][0]
        for pair, subject in zip(pairs, subjects, strict=True):
            refuse_unregistered(*pair, subject.where)
            refuse_other_grid(
                first, pair[0], f"{subject.where}.first", f"{subjects[0].where}.first"
            )
        self.subjects = tuple(
            SourceSubject(
                identity=subject.identity,
                split=subject.split,
                slice_position=pair[0].slice_position,
                where=subject.where,
                accepted=subject.accepted,
                given=(pair[0].given, pair[1].given),
                affine=affine_of(pair[0]),
            )
            for pair, subject in zip(pairs, subjects, strict=True)
        )
        self.shape = StudyShape(
            tracers=(tracers[0].name, tracers[1].name),
            protocol=protocol,
            half_life=(tracers[0].half_life, tracers[1].half_life),
            size=first.size[1:],
            voxel_size=first.voxel_size[1:],
            has_truth=True,
            attributes=attributes | _attributes(pairs, tracers),
            remarks=format_remarks(
                injections_inside(protocol, [tracer.name for tracer in tracers], "the protocol")
            ),
        )

    def read(self, subject: int) -> dict[str, npt.NDArray[np.floating[Any]]]:
        """The two scans on the protocol's frames, and their sum; see :class:`Source`.

        Raises:
            InputError: A scan has activity before its injection.
        """
        pair, weights = self._pairs[subject], self._weights[subject]
        slices, *pixels = pair[0].size
        tracers_SKUYX = np.empty((slices, 2, len(weights[0]), *pixels), dtype=np.float32)
        for k, scan in enumerate(pair):
            total_T = np.zeros(len(scan.frame_start))
            for part in _parts(scan):
                images_STYX = scan.read_slices(part)
                total_T += images_STYX.sum(axis=(0, 2, 3), dtype=np.float64)
                tracers_SKUYX[part, k] = resample(images_STYX, weights[k])
            planned = self.subjects[subject]
            ends = Frames(start=scan.frame_start, duration=scan.frame_duration).end
            there = f"{planned.where}.{PLACES[k]}"
            injected = _injection(scan, there)
            check_before_injection(there, total_T, ends, injected, planned.accepted)
        return {"mixture": tracers_SKUYX.sum(axis=1), "tracers": tracers_SKUYX}


def _weights(
    pair: Pair, tracers: tuple[PlannedTracer, PlannedTracer], protocol: Protocol, where: str
) -> list[npt.NDArray[np.float64]]:
    """[U, T] for each scan of a pair: from its own clock to the protocol's."""
    wanted = Frames(start=protocol.frame_start, duration=protocol.frame_duration)
    weights = []
    for place, scan, tracer, injected in zip(
        PLACES, pair, tracers, protocol.injection_time, strict=True
    ):
        there = f"{where}.{place}"
        refuse_other_tracer(scan, tracer, there)
        what = f"{there}, {tracer.name}"
        given = Frames(start=scan.frame_start, duration=scan.frame_duration)
        source, target = given.since(_injection(scan, there)), wanted.since(injected)
        weights.append(resampling_weights(what, source, target, tracer.half_life))
        refuse_coarse(what, source, target)
    return weights


def _injection(scan: Scan, where: str) -> float:
    if scan.injection_time is None:
        raise InputError(
            f"{where}: nothing says when the tracer was injected",
            wanted="InjectionStart in the sidecar",
            hint="injection_time: SECONDS on the scan's clock, in the plan",
        )
    return scan.injection_time


def _attributes(
    pairs: Sequence[Pair], tracers: tuple[PlannedTracer, PlannedTracer]
) -> dict[str, Any]:
    return {
        "origin": "semi-real",
        "labels": "single-tracer scans",
        "resampling": "integral over the frame; decay-corrected activity constant in source frames",
        "source_scans": {
            tracer.name: describe((pair[k], pair[k].injection_time or 0.0) for pair in pairs)
            for k, tracer in enumerate(tracers)
        },
    }


def _parts(scan: Scan) -> Iterator[slice]:
    """Ranges of slices of about :data:`BYTES_AT_ONCE` each."""
    slices, rows, columns = scan.size
    at_once = max(1, BYTES_AT_ONCE // (8 * len(scan.frame_start) * rows * columns))
    for start in range(0, slices, at_once):
        yield slice(start, min(start + at_once, slices))
