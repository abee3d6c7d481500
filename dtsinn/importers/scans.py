"""The importers: those that open the scans of a plan and make them one study, and all by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dtsinn.core.errors import InputError
from dtsinn.core.kinds import Kinds
from dtsinn.core.paths import home_path
from dtsinn.importers.mat.study import MatImporter
from dtsinn.importers.measured import MeasuredStudy
from dtsinn.importers.nifti.regions import LabelledStudy, label_image
from dtsinn.importers.nifti.scan import open_nifti
from dtsinn.importers.plan import (
    MixturePlan,
    MixturesPlan,
    PairsPlan,
    ScanPlan,
    SinglePlan,
    read_plan,
)
from dtsinn.importers.plan_file import PlannedTracer
from dtsinn.importers.scan import Scan
from dtsinn.importers.semi_real import SemiRealStudy
from dtsinn.importers.source import Importer, Source


class ScanImporter(Importer):
    """Scans that a plan lists one by one, see :mod:`dtsinn.importers.plan`.

    Paths in the plan are relative to it.

    An implementer promises :meth:`open_scan`.

    Attributes:
        source_format: What the store says of the images' format.
    """

    source_format: ClassVar[str]

    @staticmethod
    @abstractmethod
    def open_scan(
        plan: SinglePlan | MixturePlan, folder: Path, where: str, tracers: Sequence[PlannedTracer]
    ) -> Scan:
        """Open one scan.

        Args:
            plan: What the plan says of it.
            folder: What its paths are relative to.
            where: Its place in the plan, for messages.
            tracers: Those that it shows: both of a mixture.

        Raises:
            InputError: The plan or the header is wrong.
        """

    @classmethod
    def open(cls, source: Path, plan: Path | None = None, regions: Path | None = None) -> Source:
        """Open all scans of the plan ``source``."""
        scans = read_plan(source)
        attributes = {"source_format": cls.source_format, "noise": {"model": "measured"}}
        if isinstance(scans, MixturesPlan):
            mixtures = [
                cls.open_scan(
                    subject.mixture, scans.folder, f"{subject.where}.mixture", scans.tracers
                )
                for subject in scans.subjects
            ]
            study = MeasuredStudy(scans, mixtures, attributes)
            images = [subject.mixture.image for subject in scans.subjects]
            return _label(study, scans, mixtures, images, regions)
        first, second = scans.tracers[:1], scans.tracers[1:]
        pairs = [
            (
                cls.open_scan(subject.first, scans.folder, f"{subject.where}.first", first),
                cls.open_scan(subject.second, scans.folder, f"{subject.where}.second", second),
            )
            for subject in scans.subjects
        ]
        semi_real = SemiRealStudy(scans, pairs, attributes)
        images = [subject.first.image for subject in scans.subjects]
        return _label(semi_real, scans, [first for first, _ in pairs], images, regions)


class NiftiImporter(ScanImporter):
    """NIfTI files with PET-BIDS sidecars."""

    source_format = "nifti"

    @staticmethod
    def open_scan(
        plan: SinglePlan | MixturePlan, folder: Path, where: str, tracers: Sequence[PlannedTracer]
    ) -> Scan:
        """The image is a NIfTI file."""
        longest = max(tracer.half_life for tracer in tracers)
        return open_nifti(plan, folder, where, longest if len(tracers) == 1 else None, longest)


class DicomImporter(ScanImporter):
    """DICOM series."""

    source_format = "dicom"

    @staticmethod
    def open_scan(
        plan: SinglePlan | MixturePlan, folder: Path, where: str, tracers: Sequence[PlannedTracer]
    ) -> Scan:
        """The image is a folder."""
        from dtsinn.importers.dicom.activity import Quantity
        from dtsinn.importers.dicom.scan import open_dicom  # pydicom is an extra

        refuse_for_dicom(plan, where)
        return open_dicom(
            folder / home_path(plan.image),
            where,
            half_life=plan.half_life,
            longest_half_life=max(tracer.half_life for tracer in tracers),
            injection_time=plan.injection_time if isinstance(plan, SinglePlan) else None,
            quantity=Quantity(weight_kg=plan.weight_kg, dose_MBq=plan.dose_MBq),
            accepted=plan.accepted,
        )


IMPORTERS: Kinds[Importer] = Kinds(
    "importer",
    Importer,  # type: ignore[type-abstract]
    {"mat": MatImporter, "nifti": NiftiImporter, "dicom": DicomImporter},
)
"""The importers by the name that ``--from`` takes."""


def _label(
    study: Source,
    plan: PairsPlan | MixturesPlan,
    scans: Sequence[Scan],
    images: Sequence[str],
    table: Path | None,
) -> Source:
    """The study with regions, where the plan or the user names a table of them."""
    table = table or plan.regions
    named = [subject for subject in plan.subjects if subject.regions is not None]
    if table is None and named:
        raise InputError(
            f"{named[0].where}.regions: nothing names its labels",
            wanted="regions: TSV in the plan, or --regions TSV",
        )
    if table is None:
        return study
    paths = [
        label_image(subject.regions, image, plan.folder)
        for subject, image in zip(plan.subjects, images, strict=True)
    ]
    return LabelledStudy(study, scans, paths, table)


def refuse_for_dicom(plan: ScanPlan, where: str) -> None:
    """Refuse what DICOM headers always say: the plan cannot overrule it.

    Raises:
        InputError: The plan says such a thing.
    """
    for name in ("sidecar", "units", "frame_end_times", "decay_corrected", "decay_reference"):
        if getattr(plan, name) is not getattr(ScanPlan, name):  # its default
            raise InputError(
                f"{where}.{name} is not for DICOM, whose headers say it",
                hint=f"the plan without {name}",
            )
