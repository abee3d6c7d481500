"""The plan of a MATLAB import: what the files do not say.

Keys under ``subjects`` and ``splits`` and the names of files may name people: messages count them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dtsinn.core.checks import same_word
from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import Answers, check_voxels
from dtsinn.core.protocol import Protocol
from dtsinn.data.layout import SPLITS
from dtsinn.importers.plan_file import (
    PlannedTracer,
    parse_plan,
    planned_protocol,
    planned_tracers,
    read_settings,
)

UNITS = {"kBq/mL": 1.0, "Bq/mL": 1e-3}
"""kBq/mL per unit."""
MIXTURE_FOLDER = "hybrid"
"""As the published code calls it."""


@dataclass(frozen=True, kw_only=True)
class _PlanFile(Answers):
    """Keys of the YAML file; ``unusual_...: yes`` answers the questions of :class:`Answers`.

    Attributes:
        tracers: Two, by order of injection: names, or a mapping from name to half-life in s.
        protocol: Name, or YAML file beside the plan.
        decay_corrected: Must be said, and false.
        voxel_size_mm: Along y and x.
        slice_thickness_mm: Distance of neighbouring slice numbers.
        subjects: Regular expression on the file's stem with the groups ``subject`` and ``slice``,
            or a mapping from subject to stems or patterns, in the order of the slices.
        splits: From subject to split, for all subjects; without it the importer assigns them.
        folders: Of ``mixture`` and of each tracer; by default "hybrid" and the tracers' names.
        key: Of the array in the files.
        units: Of the numbers. The published data are normalised: then ``scale``.
        scale: kBq/mL per stored unit.
        truth: Whether there are folders of single tracers.
        rows: From the front of the body to its back, or turned.
        columns: From the subject's left to its right, or turned.
    """

    __pydantic_config__ = STRICT

    tracers: Any
    protocol: str
    decay_corrected: Any
    voxel_size_mm: tuple[float, float]
    slice_thickness_mm: float
    subjects: Any
    splits: Any = None
    folders: Any = None
    key: str = "data"
    units: Literal["kBq/mL", "Bq/mL"] | None = None
    scale: float | None = None
    truth: bool = True
    rows: Literal["front_to_back", "back_to_front"] = "front_to_back"
    columns: Literal["left_to_right", "right_to_left"] = "left_to_right"


@dataclass(frozen=True, kw_only=True, repr=False)
class MatPlan:
    """A plan that has been checked as far as it goes without the files.

    Attributes:
        tracers: Names, by order of injection.
        half_life: Of each, s.
        protocol: Frames and injection times.
        voxel_size: Along y and x, mm.
        thickness: mm between neighbouring slice numbers.
        subjects: A compiled expression, or from subject to stems and patterns.
        splits: From subject to split.
        folders: From ``mixture`` and, with truth, each tracer to the folder's name, in this order.
        key: Of the array in the files.
        scale: kBq/mL per stored unit.
        rows: Order of the stored rows.
        columns: Order of the stored columns.
        accepted: What the plan says yes to of what is unusual.
    """

    tracers: tuple[str, str]
    half_life: tuple[float, float]
    protocol: Protocol
    voxel_size: tuple[float, float]
    thickness: float
    subjects: re.Pattern[str] | Mapping[str, tuple[str, ...]]
    splits: Mapping[str, str]
    folders: Mapping[str, str]
    key: str
    scale: float
    rows: Literal["front_to_back", "back_to_front"]
    columns: Literal["left_to_right", "right_to_left"]
    accepted: frozenset[str]

    @property
    def has_truth(self) -> bool:
        """Whether there are folders of single tracers."""
        return len(self.folders) > 1


def read_mat_plan(path: Path) -> MatPlan:
    """Read and check a plan.

    Raises:
        InputError: The file is missing or no YAML, a key is unknown or missing, or a value is of
            the wrong kind.
    """
    file = read_settings(_PlanFile, parse_plan(path), "the plan")
    one, two = _two_tracers(file.tracers, path.parent)
    names = one.name, two.name
    _refuse_decay_correction(file.decay_corrected)
    lengths = {"voxel_size_mm": file.voxel_size_mm, "slice_thickness_mm": [file.slice_thickness_mm]}
    for key, values in lengths.items():
        if min(values) <= 0:
            raise InputError(f"the plan: {key}", got=min(values), wanted="above 0 mm")
        check_voxels(f"the plan: {key}", values, file.accepted)
    return MatPlan(
        tracers=names,
        half_life=(one.half_life, two.half_life),
        protocol=planned_protocol(file.protocol, path.parent),
        voxel_size=file.voxel_size_mm,
        thickness=file.slice_thickness_mm,
        subjects=_subjects(file.subjects),
        splits=_splits(file.splits),
        folders=_folders(file.folders, names, truth=file.truth),
        key=file.key,
        scale=_scale(file),
        rows=file.rows,
        columns=file.columns,
        accepted=file.accepted,
    )


def _two_tracers(value: Any, folder: Path) -> tuple[PlannedTracer, PlannedTracer]:
    if isinstance(value, Mapping):
        value = [{"name": name, "half_life": half_life} for name, half_life in value.items()]
    tracers = planned_tracers(value, folder)
    if "mixture" in (tracer.name for tracer in tracers):
        raise InputError("the plan: tracers", got="mixture", wanted="another name")
    return tracers


def _refuse_decay_correction(value: Any) -> None:
    if value is not False and value not in ("no", "No", "NO", "off"):
        raise InputError(
            "the plan: decay_corrected",
            got="true" if value is True else "another value",
            wanted="false: a mixture has no half-life of its own, so that its decay correction "
            "cannot be undone",
            hint="an export without decay correction",
        )


def _scale(file: _PlanFile) -> float:
    if (file.units is None) is (file.scale is None):
        raise InputError(
            "the plan: units and scale",
            got="neither" if file.units is None else "both",
            wanted="one: units: kBq/mL or Bq/mL, or scale: kBq/mL per stored unit (the published "
            "data are normalised to 0..1)",
        )
    scale = UNITS[file.units] if file.units is not None else file.scale or 0.0
    if scale <= 0:
        raise InputError("the plan: scale", got=scale, wanted="above 0 kBq/mL per stored unit")
    return scale


def _folders(value: Any, tracers: tuple[str, str], *, truth: bool) -> dict[str, str]:
    names = {"mixture": MIXTURE_FOLDER} | ({name: name for name in tracers} if truth else {})
    if value is None:
        return names
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise InputError("the plan: folders", wanted=f"a mapping of {', '.join(names)} to names")
    for number, key in enumerate(value):
        if key not in names:
            raise InputError(
                f"the plan: folders, key number {number + 1} is unknown",
                wanted=f"one of {', '.join(names)}",
            )
    return names | dict(value)


def _subjects(value: Any) -> re.Pattern[str] | dict[str, tuple[str, ...]]:
    if isinstance(value, str):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise InputError(
                "the plan: subjects is no regular expression", got=f"a mistake at {error.pos}"
            ) from None
        if not {"subject", "slice"} <= set(pattern.groupindex):
            raise InputError(
                "the plan: subjects has no groups subject and slice",
                wanted=r"as in '(?P<subject>.+)_(?P<slice>\d+)'",
            )
        return pattern
    if not isinstance(value, Mapping) or not value:
        raise InputError(
            "the plan: subjects",
            wanted="a regular expression, or a mapping from subject to names of files",
        )
    _refuse_unquoted("subjects", value)
    lists = {}
    for number, (identity, stems) in enumerate(value.items()):
        stems = [stems] if isinstance(stems, str) else stems
        if not (isinstance(stems, list) and stems and all(isinstance(s, str) for s in stems)):
            raise InputError(
                f"the plan: subjects, entry {number}", wanted="names of files, in quotes"
            )
        if not identity.strip():
            raise InputError(
                f"the plan: subjects, entry {number}", got="an empty word", wanted="a subject"
            )
        lists[identity] = tuple(stems)
    return lists


def _refuse_unquoted(key: str, value: Mapping[Any, Any]) -> None:
    """Refuse subjects that YAML took for a number, a date or a truth: 010 would be 8."""
    for number, identity in enumerate(value):
        if not isinstance(identity, str):
            raise InputError(
                f"the plan: {key}, entry {number}, is called no text",
                got=type(identity).__name__,
                hint='quotes around it, as in "010" or "1980-02-03"',
            )


def _splits(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError("the plan: splits", wanted="a mapping from subject to split")
    _refuse_unquoted("splits", value)
    splits = {key: same_word(str(split), SPLITS) for key, split in value.items()}
    for number, split in enumerate(splits.values()):
        if split not in SPLITS:
            raise InputError(
                f"the plan: splits, entry {number}",
                got="another word",
                wanted=f"one of {', '.join(SPLITS)}",
            )
    return splits
