"""One thing that opens a scan of two tracers, whatever its format: headers now, slices later.

A scan is a NIfTI file with a PET-BIDS sidecar, a DICOM folder, an import plan of mixtures, a store,
or an array (``.npy``, ``.mat``) with the same sidecar. Slices come as [S, T, Y, X] in kBq/mL,
averaged over frames, not decay-corrected; NaN is handed out as it is, for :mod:`.look`.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import read_text, refuse_more
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIVES, isotope_half_life
from dtsinn.core.paths import home_path, is_file, is_url
from dtsinn.core.plausibility import check_times, check_voxels
from dtsinn.importers.activity import UNITS, merge, to_present_activity
from dtsinn.importers.files import BYTES_OF_NUMBER
from dtsinn.importers.grid import grid_of, shape_of
from dtsinn.importers.nifti.scan import open_image, open_nifti
from dtsinn.importers.nifti.sidecar import read_sidecar
from dtsinn.importers.plan import MixturePlan, MixturesPlan, read_plan
from dtsinn.importers.scan import Scan, Vector
from dtsinn.separation.space import Space, space_of

FloatArray = npt.NDArray[np.floating[Any]]
Entities = tuple[tuple[str, str], ...]
Administered = tuple[tuple[float | None, float | None], ...]
"""Half-life, s, and time of injection, s on the scan's clock, of each tracer."""

WHERE = "the scan"
"""What messages call it."""
KEPT_ENTITIES = ("sub", "ses", "task", "rec", "run")
"""Entities of a BIDS name that outputs keep, in the order in which BIDS wants them."""
TECHNICAL = (
    *("Manufacturer", "ManufacturersModelName", "AcquisitionMode", "ReconMethodName"),
    *("ReconMethodParameterLabels", "ReconMethodParameterUnits", "ReconMethodParameterValues"),
    *("ReconFilterType", "ReconFilterSize", "AttenuationCorrection", "ScanStart", "TimeZero"),
    *("ModeOfAdministration", "InjectedRadioactivity", "InjectedRadioactivityUnits"),
    *("InjectedMass", "InjectedMassUnits", "SpecificRadioactivity", "SpecificRadioactivityUnits"),
    "SkullStripped",
)
"""Fields of a sidecar that outputs hand on: how a scan was made, nothing of whom it shows."""
DOSE = "InjectedRadioactivity"
PER_TRACER = (DOSE, "InjectedMass", "SpecificRadioactivity")
"""Fields of a mixture's sidecar that list a number for each tracer."""
NUCLIDE = re.compile(r"\W*(\d{1,3}m?\W*[A-Za-z]{1,2}|[A-Za-z]{1,2}\W*\d{1,3}m?)\W*")
"""Names that can be nothing else: ``Y86``, ``[86Y]``, ``Y-86``."""
CHUNK = 2**20
"""Bytes that are decompressed at a time."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Mixture:
    """A scan of two tracers, opened.

    Attributes:
        scan: Headers, checked, and its reader.
        space: Of its own file.
        units: What outputs are in, ``Bq/mL`` or ``kBq/mL``: those of the scan.
        whole_numbers: Whether its voxels are stored as integers and a scale.
        injections: s on the scan's clock; None where nothing says them.
        tracers: What names it gives its tracers, by order of injection; empty where it does not.
        half_lives: s, of the nuclides that it names, by order of injection; may be one or none.
        entities: Of its BIDS name.
        source: Its format, in a word.
        labels: [S, Y, X] regions that come with it.
        region_names: Of the labels, "outside" first.
        accepted: What a plan says yes to of what is unusual.
        fields: Technical fields of its sidecar.
        packed: The compressed NIfTI file that has to be decompressed before slices are read.
        reopen: From the decompressed file to its scan.
    """

    scan: Scan
    space: Space
    units: str = "kBq/mL"
    whole_numbers: bool = False
    injections: tuple[float, float] | None = None
    tracers: tuple[str, ...] = ()
    half_lives: tuple[float, ...] = ()
    entities: Entities = (("sub", "01"),)
    source: str
    labels: npt.NDArray[np.uint8] | None = None
    region_names: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    fields: Mapping[str, Any] = field(default_factory=dict)
    packed: Path | None = None
    reopen: Callable[[Path], Scan] | None = None

    def unpack(self, folder: Path) -> Scan:
        """The scan, quick to read by slices: a compressed file is decompressed into ``folder``.

        Raises:
            InputError: The file is truncated or damaged.
            OSError: The disk is full.
        """
        if self.packed is None or self.reopen is None:
            return self.scan
        plain = folder / ".scan.nii"
        image, _ = open_image(self.packed, WHERE, by_slices=True)
        voxel = image.header.get_data_dtype().itemsize
        size = image.dataobj.offset + math.prod(image.shape) * voxel
        try:
            with gzip.open(self.packed, "rb") as source, plain.open("wb") as target:
                reserve(target.fileno(), size)
                left = size
                while left > 0:
                    part = source.read(min(CHUNK, left))
                    if not part:
                        raise EOFError
                    target.write(part)
                    left -= len(part)
                source.read(CHUNK)  # to the end, where the checksum stands
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(
                f"{WHERE} is cut short or damaged",
                got="a .nii.gz file that ends too early, or is no gzip",
                hint="copying it again",
            ) from None
        return self.reopen(plain)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user says of a scan beside its files.

    Attributes:
        injections: s on the scan's clock.
        subject: Which one of a plan or a store; empty where there is one.
    """

    injections: tuple[float, float] | None = None
    subject: str = ""


def open_mixture(path: str, request: Request) -> Mixture:
    """Open a scan.

    Raises:
        InputError: There is none, it is none of two tracers, or its header is wrong; one line.
    """
    with _without_a_plan():
        mixture = _open(path, request)
    told = max(len(mixture.tracers), len(mixture.scan.administered))
    if told > 2:
        raise InputError(f"{WHERE} is of other than two tracers", got=told, wanted="two")
    return mixture


def _open(path: str, request: Request) -> Mixture:
    place = home_path(path)
    if is_url(path) or (place / "zarr.json").is_file() or place.suffix == ".zarr":
        return _open_store(path, request)
    if place.suffix in {".yaml", ".yml"}:
        return _open_plan(place, request)
    if request.subject:
        raise InputError("--subject", got=request.subject, wanted="it with a plan or a store")
    if place.is_dir():
        return _open_dicom(place, MixturePlan(image=str(place)), request)
    if not is_file(place):
        raise InputError(f"no scan at {path}", wanted=".nii.gz, .npy, .mat, folder, plan or store")
    if place.name.endswith((".npy", ".mat")):
        return _open_array(place, request)
    return _open_nifti(place, MixturePlan(image=str(place)), request)


def _open_nifti(place: Path, plan: MixturePlan, request: Request) -> Mixture:
    image, _ = open_image(place, WHERE, by_slices=True)
    beside = _sidecar_of(place) if plan.sidecar is None else place.parent / home_path(plan.sidecar)
    injections = request.injections or plan.injection_time
    plan = dataclasses.replace(plan, sidecar=str(beside.absolute()), injection_time=injections)

    def reopen(file: Path) -> Scan:
        own = dataclasses.replace(plan, image=str(file.absolute()))
        return open_nifti(own, file.parent, WHERE, None, by_slices=True, nan=True)

    scan, fields = reopen(place), _raw_fields(beside)
    administered, fields = _by_injection(scan.administered, fields)
    _refuse_unknown_nuclides(fields)
    units = plan.units or str(read_sidecar(beside, f"{WHERE}.sidecar").units)
    told = _told(fields)
    injections = injections or _both([time for _, time in administered])
    return Mixture(
        scan=scan,
        space=dataclasses.replace(space_of(scan), header=image.header),
        units="Bq/mL" if UNITS[units.strip().lower()] < 1 else "kBq/mL",
        whole_numbers=image.header.get_data_dtype().kind in "iu",
        injections=injections,
        tracers=told,
        half_lives=tuple(seconds for seconds, _ in administered if seconds is not None),
        entities=_entities(place.name),
        source="NIfTI",
        accepted=plan.accepted,
        fields=_technical(fields),
        packed=place if place.name.endswith(".gz") else None,
        reopen=reopen,
    )


def _open_dicom(folder: Path, plan: MixturePlan, request: Request) -> Mixture:
    from dtsinn.importers.dicom.scan import open_dicom  # pydicom is an extra
    from dtsinn.importers.scans import refuse_for_dicom

    refuse_for_dicom(plan, WHERE)
    scan = open_dicom(
        folder, WHERE, half_life=plan.half_life, accepted=plan.accepted, by_slices=True
    )
    injections = request.injections or plan.injection_time
    ordered, _ = _by_injection(scan.administered, {})
    injections = injections or _both([time for _, time in ordered])
    return Mixture(
        scan=scan,
        space=space_of(scan),
        units="Bq/mL",
        whole_numbers=True,
        injections=injections,
        half_lives=tuple(seconds for seconds, _ in ordered if seconds is not None),
        source="DICOM",
        accepted=plan.accepted,
    )


def _open_plan(place: Path, request: Request) -> Mixture:
    plan = read_plan(place)
    if not isinstance(plan, MixturesPlan):
        raise InputError(
            "the plan lists two scans a subject, of one tracer each",
            wanted="mixture: a scan of both",
            hint="dtsinn import, for pairs",
        )
    names = [subject.identity for subject in plan.subjects]
    chosen = plan.subjects[_choose(names, request.subject, "the plan", tell=False)]
    own = chosen.mixture
    image = plan.folder / home_path(own.image)
    if own.injection_time is None and plan.protocol is not None:
        own = dataclasses.replace(own, injection_time=plan.protocol.injection_time)
    absolute = dataclasses.replace(
        own, sidecar=None if own.sidecar is None else str(plan.folder / home_path(own.sidecar))
    )
    kind = _open_dicom if image.is_dir() else _open_nifti
    return dataclasses.replace(
        kind(image, absolute, request),
        tracers=tuple(tracer.name for tracer in plan.tracers),
        half_lives=tuple(tracer.half_life for tracer in plan.tracers),
    )


def _open_store(path: str, request: Request) -> Mixture:
    from dtsinn.data.store import open_store

    store = open_store(path)
    header = store.header
    names = [str(name) for name in dict.fromkeys(store.subject_N)]
    subject = names[_choose(names, request.subject, "the store", tell=True)]
    index = np.flatnonzero(store.subject_N == subject)
    index = index[np.argsort(store.slice_N[index], kind="stable")]
    position = store.slice_N[index]
    y, x = header.voxel_size
    z = float(np.median(np.diff(position))) if len(index) > 1 else x

    def read_slices(which: slice) -> FloatArray:
        own = index[which]
        values = np.concatenate([store.arrays["mixture"][int(i) : int(i) + 1] for i in own])
        return np.asarray(store.check_values("mixture", own, values))

    size = (len(index), *header.size)
    affine = _known_affine(store.group.attrs.get("affines"), subject)
    grid = None if affine is None else grid_of(affine, (*shape_of(affine, size), 1), WHERE)
    Y, X = header.size
    scan = Scan(
        frame_start=header.protocol.frame_start,
        frame_duration=header.protocol.frame_duration,
        injection_time=None,
        half_life=None,
        size=size,
        voxel_size=(z, y, x) if grid is None else grid.voxel_size,
        slice_position=tuple(position.tolist()),
        origin=(-x * (X - 1) / 2, y * (Y - 1) / 2, float(position[0]))
        if grid is None
        else grid.origin,
        read_slices=read_slices,
        decay_corrected=False,
        affine=None if affine is None else tuple(map(tuple, affine.tolist())),
    )
    if grid is not None:
        scan = dataclasses.replace(scan, axes=grid.axes)
    labels = None
    if "regions" in store.arrays:
        labels = np.concatenate([store.arrays["regions"][int(i) : int(i) + 1] for i in index])
    return Mixture(
        scan=scan,
        space=space_of(scan),
        injections=request.injections or header.protocol.injection_time,
        tracers=header.tracers,
        half_lives=header.half_life,
        entities=(("sub", re.sub(r"[^A-Za-z0-9]", "", subject) or "01"),),
        source="store",
        labels=labels,
        region_names=header.region_names,
        accepted=frozenset({"unusual_activity"}),  # asked when the store was made
    )


def _known_affine(kept: Any, subject: str) -> npt.NDArray[np.float64] | None:
    """The affine that an import kept of a subject's scan; None where there is none."""
    value = kept.get(subject) if isinstance(kept, Mapping) else None
    try:
        affine = np.array(value, np.float64)
    except (TypeError, ValueError):
        return None
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return None
    return affine


def _open_array(place: Path, request: Request) -> Mixture:
    beside = _sidecar_of(place)
    fields = _raw_fields(beside)
    plan = MixturePlan(image=place.name, injection_time=request.injections)
    known = merge(plan, read_sidecar(beside, f"{WHERE}.sidecar"), WHERE)
    _refuse_unknown_nuclides(fields)
    array_STYX = _read_array(place)
    if array_STYX.ndim != 4:
        raise InputError(
            f"{WHERE} is no dynamic scan",
            got=" x ".join(map(str, array_STYX.shape)),
            wanted="slices, frames, rows and columns",
        )
    if array_STYX.dtype.kind not in "iuf":
        raise InputError(f"{WHERE}: type of its numbers", got=array_STYX.dtype, wanted="real")
    S, T, Y, X = array_STYX.shape
    if len(known.frames.start) != T:
        raise InputError(
            f"{WHERE}: frames",
            got=f"{T} in the array and {len(known.frames.start)} in the sidecar",
            wanted="as many",
        )
    administered, fields = _by_injection(known.administered, fields)
    half_lives = [seconds for seconds, _ in administered if seconds is not None]
    longest = max(half_lives, default=None)
    check_times(WHERE, known.frames.duration, accepted=known.accepted, half_life=longest)
    factor_T = to_present_activity(known, None, WHERE)
    x, y, z = _voxel_size(fields)

    def read_slices(which: slice) -> FloatArray:
        values = array_STYX[which] * factor_T[:, None, None]
        if np.isinf(values).any():
            raise InputError(f"{WHERE} holds infinity", wanted="numbers")
        return np.asarray(values)

    scan = Scan(
        frame_start=known.frames.start,
        frame_duration=known.frames.duration,
        injection_time=known.injection_time,
        half_life=known.half_life,
        size=(S, Y, X),
        voxel_size=(z, y, x),
        slice_position=tuple(z * number for number in range(S)),
        origin=(0.0, y * (Y - 1), 0.0),
        read_slices=read_slices,
        decay_corrected=known.decay_corrected,
        administered=known.administered,
    )
    injections = request.injections or _both([time for _, time in administered])
    return Mixture(
        scan=scan,
        space=dataclasses.replace(space_of(scan), placed=False),
        units="Bq/mL" if UNITS[str(known.units).strip().lower()] < 1 else "kBq/mL",
        whole_numbers=array_STYX.dtype.kind in "iu",
        injections=injections,
        tracers=_told(fields),
        half_lives=tuple(half_lives),
        entities=_entities(place.name),
        source=place.suffix[1:],
        fields=_technical(fields),
    )


def _read_array(place: Path) -> npt.NDArray[Any]:
    """[S, T, Y, X] of a ``.npy`` file, mapped, or of a ``.mat`` file with one slice."""
    if place.suffix == ".mat":
        return _read_mat(place)
    try:
        array = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        got = type(error).__name__
        raise InputError(f"{WHERE} cannot be read as .npy", got=got, hint="numpy.save") from None
    if array.ndim == 4:
        refuse_more(WHERE, math.prod(array.shape[1:]) * BYTES_OF_NUMBER, array.nbytes)
    return np.asarray(array)


def _read_mat(place: Path) -> npt.NDArray[Any]:
    """[1, T, Y, X] of the array ``data``; what importers say of a plan's key is said of it."""
    from dtsinn.importers.mat.file import THE_KEY, read_mat

    try:
        return read_mat(place, "data", WHERE, nan=True).transpose(2, 0, 1)[None]
    except InputError as error:
        what = error.what.replace(THE_KEY, "the array data").replace("the plan's key", "name data")
        hint = error.hint.replace("key in the plan", "the array saved as data")
        raise InputError(what, got=error.got, wanted=error.wanted, hint=hint) from None


def _voxel_size(fields: Mapping[str, Any]) -> Vector:
    """``VoxelSize`` of a sidecar, along x, y and z in mm; 1 mm where it does not say."""
    value = fields.get("VoxelSize", [1.0, 1.0, 1.0])
    numbers = isinstance(value, list) and len(value) == 3
    if not (numbers and all(isinstance(one, int | float) and one > 0 for one in value)):
        raise InputError(f"{WHERE}.sidecar: VoxelSize", wanted="three lengths along x, y, z in mm")
    check_voxels(f"{WHERE}.sidecar: VoxelSize", value)
    return (float(value[0]), float(value[1]), float(value[2]))


def _by_injection(
    administered: Administered, fields: dict[str, Any]
) -> tuple[Administered, dict[str, Any]]:
    """What a header lists for each tracer, by order of injection; as listed if one is not told.

    Args:
        administered: Half-life and time of injection of each tracer.
        fields: Of a sidecar.
    """
    times = [time for _, time in administered if time is not None]
    order = list(range(len(administered)))
    if len(times) == len(order):
        order.sort(key=times.__getitem__)

    def turn(value: Any) -> Any:
        fits = isinstance(value, list) and len(value) == len(order)
        return [value[place] for place in order] if fits else value

    listed = {name: turn(fields[name]) for name in ("TracerName", *PER_TRACER) if name in fields}
    return tuple(administered[place] for place in order), fields | listed


def _both(times: Sequence[float | None]) -> tuple[float, float] | None:
    """Two times, where there are two."""
    told = [time for time in times if time is not None]
    return (told[0], told[1]) if len(told) == len(times) == 2 else None


def _choose(names: list[str], wanted: str, what: str, *, tell: bool) -> int:
    """Which subject is meant; a plan's names may be people's, and are not told."""
    if wanted in names:
        return names.index(wanted)
    if not wanted and len(names) == 1:
        return 0
    raise InputError(
        f"{what} holds {len(names)} scans" if not wanted else f"{what} has no such subject",
        wanted="one",
        hint=f"--subject {names[0]}" if tell else "--subject ID, as the plan has it",
    )


def _sidecar_of(place: Path) -> Path:
    name = place.name.removesuffix(".gz")
    return place.with_name(f"{name.rpartition('.')[0]}.json")


def _raw_fields(sidecar: Path) -> dict[str, Any]:
    """All fields of a sidecar, which was read before or will be refused after.

    What JSON has no number for, such as NaN, is ``n/a``.
    """

    def number(text: str) -> float | str:
        return float(text) if math.isfinite(float(text)) else "n/a"

    try:
        text = read_text(sidecar, "utf-8-sig")
        content = json.loads(text, parse_float=number, parse_constant=number)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _told(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """``TracerName`` of a mixture; PET-BIDS has one name, and a mixture lists two."""
    value = fields.get("TracerName")
    names = value if isinstance(value, list) else [value]
    return tuple(name for name in names if isinstance(name, str) and name.strip())


def _refuse_unknown_nuclides(fields: Mapping[str, Any]) -> None:
    """Refuse a nuclide such as ``Y86`` whose half-life nobody here knows."""
    value = fields.get("TracerRadionuclide")
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and NUCLIDE.fullmatch(name) and isotope_half_life(name) is None:
            raise InputError(
                f"{WHERE}.sidecar: TracerRadionuclide",
                got=f"{name!r}, whose half-life is not known",
                wanted=f"one of {', '.join(HALF_LIVES)}",
                hint="the sidecar without it, if the nuclides are the model's",
            )


def _technical(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Technical fields that are numbers and texts, alone or in lists, as BIDS wants them."""

    def is_plain(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        return all(isinstance(one, str | int | float) for one in values)

    return {name: fields[name] for name in TECHNICAL if is_plain(fields.get(name))}


def _entities(name: str) -> Entities:
    """Entities of a BIDS file name; any other name may be a person's, and gives ``sub-01``."""
    stem = name.removesuffix(".gz").rpartition(".")[0]
    found = dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)(?=_|$)", stem))
    if "sub" not in found:
        return (("sub", "01"),)
    return tuple((key, found[key]) for key in KEPT_ENTITIES if key in found)


def reserve(descriptor: int, size: int) -> None:
    """Take disk space now: a mapped file that finds none later kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


@contextmanager
def _without_a_plan() -> Iterator[None]:
    """What importers advise for a plan is for a plan, which can be the scan."""
    try:
        yield
    except InputError as error:
        hint = re.sub(r"\b(in|without) the plan\b", r"\1 an import plan as SCAN", error.hint)
        hint = re.sub(r"the plan without", "an import plan as SCAN without", hint)
        what = error.what.replace(f"{WHERE}.image", WHERE)
        raise type(error)(what, got=error.got, wanted=error.wanted, hint=hint) from None
