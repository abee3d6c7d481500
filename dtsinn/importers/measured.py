"""Measured mixtures: one scan of both tracers, which has no truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import Accepted, ask, check_times, is_yes
from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.importers.files import fingerprint
from dtsinn.importers.fitting import describe, refuse_other_grid
from dtsinn.importers.frames import JITTER_S, Frames
from dtsinn.importers.grid import affine_of
from dtsinn.importers.mixture_frames import FrameFit, fit_frames
from dtsinn.importers.plan import MixturePlan, MixturesPlan
from dtsinn.importers.remarks import (
    HEADER_INJECTION_S,
    INJECTION_S,
    Remark,
    check_order,
    format_remarks,
    injections_inside,
)
from dtsinn.importers.scan import Scan
from dtsinn.importers.source import Source, SourceSubject, StudyShape

RESAMPLE = "resample: yes in the plan, beside a protocol"
"""What to try with frames that differ."""


class MeasuredStudy(Source):
    """Scans of both tracers as a :class:`dtsinn.importers.source.Source`."""

    def __init__(
        self,
        plan: MixturesPlan,
        scans: Sequence[Scan],
        attributes: dict[str, Any],
    ) -> None:
        """Check that the scans make one store.

        Args:
            plan: Of the mixtures; without a protocol, all scans follow the first.
            scans: One for each subject.
            attributes: What the store shall say beside what this class knows.

        Raises:
            InputError: Scans differ in frames, injection times, size or voxel size, or nothing
                says when the tracers were injected.
        """
        self._scans = scans
        self.fingerprint = fingerprint(
            [subject.settings for subject in plan.subjects],
            [scan.stamps for scan in scans],
        )
        subjects, tracers, protocol = plan.subjects, plan.tracers, plan.protocol
        self.subjects = tuple(
            SourceSubject(
                identity=subject.identity,
                split=subject.split,
                slice_position=scan.slice_position,
                where=subject.where,
                accepted=subject.accepted,
                affine=affine_of(scan),
            )
            for scan, subject in zip(scans, subjects, strict=True)
        )
        followed = [
            _protocol_of(scan, subject.mixture, plan, f"{subject.where}.mixture")
            for scan, subject in zip(scans, subjects, strict=True)
        ]
        shared = followed[0] if protocol is None else protocol
        wanted = f"{subjects[0].where}.mixture" if protocol is None else "the protocol"
        self._fits: list[FrameFit | None] = []
        remarks: list[Remark] = []
        for own, scan, subject in zip(followed, scans, subjects, strict=True):
            there = f"{subject.where}.mixture"
            fit = _resampled(scan, subject.mixture, plan, there)
            self._fits.append(fit)
            if fit is not None:
                remarks.append((there, f"frames brought to the protocol: {fit.words}"))
                own = dataclasses.replace(
                    own, frame_start=shared.frame_start, frame_duration=shared.frame_duration
                )
            _refuse_other_protocol(shared, own, there, wanted)
            refuse_other_grid(
                scans[0], scan, f"{subject.where}.mixture", f"{subjects[0].where}.mixture"
            )
        names = tracers[0].name, tracers[1].name
        half_life = tracers[0].half_life, tracers[1].half_life
        remarks += injections_inside(shared, names, wanted)
        for scan, subject in zip(scans, subjects, strict=True):
            there = f"{subject.where}.mixture"
            remarks += check_order(scan, names, half_life, shared.injection_time, there)
        self.shape = StudyShape(
            tracers=names,
            protocol=shared,
            half_life=half_life,
            size=scans[0].size[1:],
            voxel_size=scans[0].voxel_size[1:],
            has_truth=False,
            attributes=attributes
            | {
                "origin": "measured",
                "source_scans": {
                    "mixture": describe((scan, scan.frame_start[0]) for scan in scans)
                },
            },
            remarks=format_remarks(remarks),
        )

    def read(self, subject: int) -> dict[str, npt.NDArray[np.floating[Any]]]:
        """The mixture; see :class:`Source`."""
        scan, fit = self._scans[subject], self._fits[subject]
        images_STYX = scan.read_slices(slice(0, scan.size[0]))
        if fit is not None:
            images_STYX = fit.apply(images_STYX)
        return {"mixture": images_STYX.astype(np.float32)}


def _resampled(scan: Scan, mixture: MixturePlan, plan: MixturesPlan, where: str) -> FrameFit | None:
    """How a scan's frames become those of the plan's protocol; None where they are to be it."""
    if not is_yes(mixture.resample):
        return None
    if plan.protocol is None:
        raise InputError(
            f"{where}.resample: the plan has no protocol",
            wanted="the frames to which scans are brought",
            hint="protocol: p1",
        )
    frames = Frames(start=scan.frame_start, duration=scan.frame_duration)
    half_life = (plan.tracers[0].half_life, plan.tracers[1].half_life)
    fit = fit_frames(frames, plan.protocol, half_life, where=where, whose="the protocol")
    return None if fit.weights is None else fit


def _protocol_of(scan: Scan, mixture: MixturePlan, plan: MixturesPlan, where: str) -> Protocol:
    """Frames and injections of one scan, counted from its first frame."""
    begin = scan.frame_start[0]
    if mixture.injection_time is not None:
        injections = tuple(time - begin for time in mixture.injection_time)
    elif plan.protocol is not None:
        injections = plan.protocol.injection_time
    else:
        raise InputError(
            f"{where}: nothing says when the tracers were injected",
            hint="injection_time: [0, 1200] in s on the scan's clock, or a protocol, in the plan",
        )
    _check_header_injection(scan, injections, where, mixture.accepted)
    try:
        own = protocol_of_frames(
            "measured",
            [round(start - begin, 6) for start in scan.frame_start],
            scan.frame_duration,
            [round(time, 6) for time in injections],
        )
    except InputError as error:
        what = error.what.replace("protocol 'measured'", where)
        raise InputError(what, got=error.got, wanted=error.wanted, hint=error.hint) from None
    check_times(
        where,
        scan.frame_duration,
        own.injection_time,
        mixture.accepted,
        half_life=max(tracer.half_life for tracer in plan.tracers),
    )
    return own


def _check_header_injection(
    scan: Scan, injections: Sequence[float], where: str, accepted: Accepted
) -> None:
    """Ask for a header an injection of which, of either tracer, is none of the plan's."""
    times = {scan.injection_time, *(time for _, time in scan.administered)} - {None}
    for said in sorted(time - scan.frame_start[0] for time in times if time is not None):
        if min(abs(said - time) for time in injections) <= HEADER_INJECTION_S:
            continue
        ask(
            accepted,
            "unusual_times",
            f"{where}: the header and the plan disagree on when a tracer was injected",
            got=f"{said:g} s after the first frame's start by the header",
            wanted=" or ".join(f"{time:g} s" for time in injections),
            hint="injection_time or another protocol in the plan, or a header that is right (a "
            "difference of hours is one of time zones)",
        )


def _refuse_other_protocol(wanted: Protocol, own: Protocol, where: str, wanted_where: str) -> None:
    if own.frames != wanted.frames:
        raise InputError(
            f"{where}: frames differ from those of {wanted_where}",
            got=f"{own.frames} frames",
            wanted=wanted.frames,
            hint=RESAMPLE,
        )
    apart = np.abs(np.subtract(own.frame_edges, wanted.frame_edges))
    if apart.max() > JITTER_S:
        edge = int(np.argmax(apart > JITTER_S))
        raise InputError(
            f"{where}: frames differ from those of {wanted_where}",
            got=f"an edge at {own.frame_edges[edge]:g} s after the start",
            wanted=f"{wanted.frame_edges[edge]:g} s",
            hint=RESAMPLE,
        )
    if np.abs(np.subtract(own.injection_time, wanted.injection_time)).max() > INJECTION_S:
        raise InputError(
            f"{where}: injections differ from those of {wanted_where}",
            got=f"{own.injection_time[0]:g} and {own.injection_time[1]:g} s after the start",
            wanted=f"{wanted.injection_time[0]:g} and {wanted.injection_time[1]:g} s",
            hint="a store for each",
        )
