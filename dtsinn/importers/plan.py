"""The user's plan of an import: whose scans, where they lie, and what their headers lack."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path
from dtsinn.core.plausibility import Answer, Answers
from dtsinn.core.protocol import Protocol
from dtsinn.importers.plan_file import (
    PlannedTracer,
    parse_plan,
    planned_protocol,
    planned_tracers,
    read_settings,
)


@dataclass(frozen=True, kw_only=True)
class ScanPlan(Answers):
    """Where a scan lies, and what its header or sidecar lacks; the plan wins over both.

    ``unusual_...: yes`` answers the questions of :class:`Answers`.

    Attributes:
        image: NIfTI file or DICOM folder, relative to the plan.
        sidecar: JSON file, relative to the plan; by default beside the image.
        units: Of the voxels: Bq/mL, kBq/mL or SUV.
        half_life: With which the scanner decay-corrected, s.
        frame_end_times: ``FrameDuration`` holds the end times of the frames.
        weight_kg: Body weight, for SUV.
        dose_MBq: Injected dose, for SUV.
        decay_corrected: Whether the scanner decay-corrected the images.
        decay_reference: Time to which it did, s on the scan's clock.
    """

    __pydantic_config__ = STRICT

    image: str = field(repr=False)
    sidecar: str | None = field(default=None, repr=False)
    units: str | None = None
    half_life: float | None = None
    frame_end_times: bool = False
    weight_kg: float | None = None
    dose_MBq: float | None = None
    decay_corrected: bool | None = None
    decay_reference: float | None = None


@dataclass(frozen=True, kw_only=True)
class SinglePlan(ScanPlan):
    """A scan of one tracer.

    Attributes:
        injection_time: s on the scan's clock.
    """

    injection_time: float | None = None


@dataclass(frozen=True, kw_only=True)
class MixturePlan(ScanPlan):
    """A scan of both tracers.

    Attributes:
        injection_time: Of the first and the second tracer, s on the scan's clock.
        resample: Other frames than the plan's protocol are brought to it.
    """

    injection_time: tuple[float, float] | None = None
    resample: Answer = False


@dataclass(frozen=True, kw_only=True)
class PlannedSubject:
    """One subject.

    Attributes:
        identity: What the user calls the subject.
        split: One of the splits, or None.
        where: Place in the plan, for messages.
        regions: Label image, relative to the plan; None where the plan does not say.
    """

    identity: str = field(repr=False)
    split: str | None
    where: str
    regions: str | None = field(default=None, repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what is stored, as plain data: answers to questions do not."""
        plain = dataclasses.asdict(self)
        del plain["regions"]  # what they hold counts: see LabelledStudy
        for scan in (value for value in plain.values() if isinstance(value, dict)):
            for key in Answers.__dataclass_fields__:
                scan.pop(key, None)
        return plain


@dataclass(frozen=True, kw_only=True)
class PlannedPair(PlannedSubject):
    """A subject with two registered scans of one tracer each."""

    first: SinglePlan
    second: SinglePlan

    @property
    def accepted(self) -> frozenset[str]:
        """What the plan says yes to, of either scan."""
        return self.first.accepted | self.second.accepted


@dataclass(frozen=True, kw_only=True)
class PlannedMixture(PlannedSubject):
    """A subject with one scan of both tracers."""

    mixture: MixturePlan

    @property
    def accepted(self) -> frozenset[str]:
        """What the plan says yes to."""
        return self.mixture.accepted


@dataclass(frozen=True, kw_only=True)
class PairsPlan:
    """A plan of pairs, checked as far as it goes without opening a scan.

    Attributes:
        folder: What paths are relative to.
        tracers: By order of injection.
        protocol: To which the scans are brought.
        subjects: At least one.
        regions: Table of the names of regions, or None.
    """

    folder: Path
    tracers: tuple[PlannedTracer, PlannedTracer]
    protocol: Protocol
    subjects: tuple[PlannedPair, ...]
    regions: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MixturesPlan:
    """A plan of measured mixtures, checked as far as it goes without opening a scan.

    Attributes:
        folder: What paths are relative to.
        tracers: By order of injection.
        protocol: What the scans must follow; None where they bring their own.
        subjects: At least one.
        regions: Table of the names of regions, or None.
    """

    folder: Path
    tracers: tuple[PlannedTracer, PlannedTracer]
    protocol: Protocol | None
    subjects: tuple[PlannedMixture, ...]
    regions: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    __pydantic_config__ = STRICT

    tracers: Any
    protocol: str | None = None
    subjects: Any
    regions: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class _SubjectEntry:
    __pydantic_config__ = STRICT

    id: str = field(repr=False)
    split: Literal["train", "val", "gate", "test", "calibrate"] | None = None
    first: Any = None
    second: Any = None
    mixture: Any = None
    regions: str | None = field(default=None, repr=False)


def read_plan(path: Path) -> PairsPlan | MixturesPlan:
    """Read a plan.

    Raises:
        InputError: The file is missing or no YAML, a key is unknown or missing, a value is of the
            wrong kind, or pairs and mixtures stand side by side.
    """
    file = read_settings(_PlanFile, parse_plan(path), "the plan")
    tracers = planned_tracers(file.tracers, path.parent)
    protocol = None if file.protocol is None else planned_protocol(file.protocol, path.parent)
    if not (isinstance(file.subjects, list) and file.subjects):
        got = "an empty list" if file.subjects == [] else type(file.subjects).__name__
        raise InputError("the plan: subjects", got=got, wanted="a list of at least one")
    subjects = [_subject(value, f"subjects.{n}") for n, value in enumerate(file.subjects)]
    regions = None if file.regions is None else path.parent / home_path(file.regions)
    pairs = tuple(subject for subject in subjects if isinstance(subject, PlannedPair))
    mixtures = tuple(subject for subject in subjects if isinstance(subject, PlannedMixture))
    if pairs and mixtures:
        raise InputError(
            f"{mixtures[0].where} is a mixture and {pairs[0].where} has first and second",
            wanted="first and second for all subjects, or mixture for all",
            hint="two plans and two stores",
        )
    if mixtures:
        return MixturesPlan(
            folder=path.parent,
            tracers=tracers,
            protocol=protocol,
            subjects=mixtures,
            regions=regions,
        )
    if protocol is None:
        raise InputError(
            "the plan: protocol is missing",
            wanted="frames and injection times to which first and second are brought",
            hint="protocol: p1",
        )
    return PairsPlan(
        folder=path.parent, tracers=tracers, protocol=protocol, subjects=pairs, regions=regions
    )


def _subject(value: Any, where: str) -> PlannedPair | PlannedMixture:
    entry = read_settings(_SubjectEntry, value, where)
    if not entry.id.strip():
        raise InputError(f"{where}.id", got="an empty word", wanted="what you call the subject")
    given = [name for name in ("first", "second", "mixture") if getattr(entry, name) is not None]
    if given == ["first", "second"]:
        return PlannedPair(
            identity=entry.id,
            split=entry.split,
            where=where,
            regions=entry.regions,
            first=read_settings(SinglePlan, entry.first, f"{where}.first"),
            second=read_settings(SinglePlan, entry.second, f"{where}.second"),
        )
    if given == ["mixture"]:
        return PlannedMixture(
            identity=entry.id,
            split=entry.split,
            where=where,
            regions=entry.regions,
            mixture=read_settings(MixturePlan, entry.mixture, f"{where}.mixture"),
        )
    raise InputError(
        f"{where}: scans",
        got=" and ".join(given) or "none",
        wanted="first and second (one tracer each), or mixture (both)",
    )
