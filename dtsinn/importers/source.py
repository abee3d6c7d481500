"""What every importer promises: a study in the store's words, read one subject at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from dtsinn.core.protocol import Protocol as ScanProtocol
from dtsinn.importers.scan import Affine

Given = tuple[float | None, float | None]
"""Body weight, kg, and dose, MBq; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class SourceSubject:
    """One subject of a source, before anything of it is read.

    Attributes:
        identity: What the user calls the subject; it may name a person and is written nowhere.
        split: One of the splits, or None where the importer shall assign it.
        slice_position: [S] axial positions of the slices, ascending, mm.
        where: Place in the user's plan, for messages, such as ``subjects.2``.
        accepted: What the plan says yes to of what is unusual.
        given: Body weight in kg and dose in MBq of each tracer, where they are known.
        affine: [4, 4] from the voxels of the scan's own file to RAS, mm; None where it has none.
    """

    identity: str = field(repr=False)
    split: str | None
    slice_position: tuple[float, ...]
    where: str
    accepted: frozenset[str] = frozenset()
    given: tuple[Given, ...] = ()
    affine: Affine | None = None


@dataclass(frozen=True, kw_only=True)
class StudyShape:
    """What all subjects of a source share.

    Attributes:
        tracers: Names, by order of injection.
        protocol: Frames and injection times.
        half_life: Of each tracer, s.
        size: Rows Y and columns X of a slice.
        voxel_size: Along y and x, mm.
        has_truth: Whether there are single-tracer sequences beside the mixture.
        attributes: Plain data on how the samples came about; free of identities and free text.
        remarks: What the user should know of the source, a line each; free of identities.
        region_names: Label -> name of the regions, "outside" first; empty without regions.
    """

    tracers: tuple[str, str]
    protocol: ScanProtocol
    half_life: tuple[float, float]
    size: tuple[int, int]
    voxel_size: tuple[float, float]
    has_truth: bool
    attributes: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    region_names: tuple[str, ...] = ()


class Source(ABC):
    """A foreign study, opened: everything but the images is known and checked.

    An implementer promises: whatever can be told from headers was refused when the source was
    opened; ``read`` is a pure function of the subject's number.

    Attributes:
        shape: What all subjects share.
        subjects: The subjects in the order of the plan.
        fingerprint: What decides the numbers beside ``shape``: the plan, and the state of the
            files. It holds names and paths: only a keyed hash of it may be kept.
    """

    shape: StudyShape
    subjects: tuple[SourceSubject, ...]
    fingerprint: str

    @abstractmethod
    def read(self, subject: int) -> dict[str, npt.NDArray[Any]]:
        """The images of one subject, kBq/mL, frame-averaged, not decay-corrected.

        Rows run from the front of the body to its back, columns from the subject's left hand to
        its right (x of a RAS frame ascending).

        Returns:
            ``mixture`` [S, T, Y, X], where the source has truth ``tracers`` [S, K, T, Y, X], and
            where it has regions ``regions`` [S, Y, X], labels.

        Raises:
            InputError: The data are damaged, or do not fit what the header said.
            RunError: They cannot be read for now; the same call may succeed later.
        """


class Importer(ABC):
    """A format of foreign studies, as ``dtsinn import --from`` names it.

    An implementer promises :meth:`open`, whose source keeps its own contract.

    Attributes:
        plan_beside: The plan is a file beside the source; else the source is the plan.
    """

    plan_beside: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, source: Path, plan: Path | None = None, regions: Path | None = None) -> Source:
        """Open a study; images stay on disk.

        Args:
            source: The plan, or the folder of the study where the plan is beside it.
            plan: The plan, where it is beside the source.
            regions: Table of the names of regions, where there are label images.

        Raises:
            InputError: The plan or a header is wrong, or the scans do not make one store. The
                message names the place in the plan, never a path or a subject.
        """
