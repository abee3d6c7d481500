"""NIfTI scans with PET-BIDS sidecars: headers checked when opened, voxels read by slices.

Axes of an image in the file are any three in space, then frames; RAS means x to the right, y to
the front, z to the head; the store has [S, T, Y, X] with rows from front to back.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.orientations import aff2axcodes, apply_orientation

from dtsinn.core.bounds import in_words, open_file
from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path, is_file
from dtsinn.core.plausibility import check_times, check_voxels, usable_dose
from dtsinn.importers.activity import merge, to_present_activity
from dtsinn.importers.files import read_stamps, refuse_absurd, refuse_passing
from dtsinn.importers.grid import Grid, grid_of
from dtsinn.importers.nifti.sidecar import read_sidecar
from dtsinn.importers.plan import MixturePlan, SinglePlan
from dtsinn.importers.scan import Scan

FloatArray = npt.NDArray[np.float64]

MOST_HEADER = 4 * 2**20
"""Bytes before the first voxel: header and extensions, such as AFNI's XML."""
LEAST_EXTENSION = 16
"""Bytes of an extension, or a multiple of them (NIfTI-1, nifti1.h, "Extended header")."""


def open_nifti(
    plan: SinglePlan | MixturePlan,
    folder: Path,
    where: str,
    half_life: float | None,
    longest_half_life: float | None = None,
    *,
    by_slices: bool = False,
    nan: bool = False,
) -> Scan:
    """Open a NIfTI file and its sidecar.

    Args:
        plan: What the user's plan says of the scan; it wins over the sidecar.
        folder: What its paths are relative to.
        where: Its place in the plan, for messages.
        half_life: Of the tracer, s: what decay correction is undone with where neither plan nor
            sidecar name a half-life. None for a mixture, which has no half-life of its own.
        longest_half_life: Of the tracers in the scan, s; by default that of the one tracer.
        by_slices: It is never read whole, so that a slice alone has to fit into memory.
        nan: Hand out NaN as it is; infinity is refused.

    Returns:
        The scan; ``half_life`` and ``injection_time`` are those of plan or sidecar, or None. Of a
        mixture, ``injection_time`` is the sidecar's.

    Raises:
        InputError: A file is missing or damaged, is not what dtsinn reads, or lacks something
            that the plan does not give either.
    """
    path = folder / home_path(plan.image)
    image, grid = open_image(path, f"{where}.image", by_slices=by_slices)
    beside = _beside(path) if plan.sidecar is None else folder / home_path(plan.sidecar)
    known = merge(plan, read_sidecar(beside, f"{where}.sidecar"), where)
    if len(known.frames.start) != grid.frames:
        raise InputError(
            f"{where}: frames",
            got=f"{grid.frames} in the image and {len(known.frames.start)} in the sidecar",
            wanted="as many",
        )
    longest = longest_half_life
    if longest is None and not known.mixture:
        longest = half_life if known.half_life is None else known.half_life
    check_times(where, known.frames.duration, accepted=plan.accepted, half_life=longest)
    check_voxels(f"{where}.image: voxel size", grid.voxel_size, plan.accepted)
    factor_T = to_present_activity(known, half_life, where)

    def read_slices(which: slice) -> FloatArray:
        return _read(image, grid, factor_T, which, f"{where}.image", nan=nan)

    return Scan(
        frame_start=known.frames.start,
        frame_duration=known.frames.duration,
        injection_time=known.injection_time,
        half_life=known.half_life,
        size=grid.size,
        voxel_size=grid.voxel_size,
        slice_position=grid.slice_position,
        origin=grid.origin,
        axes=grid.axes,
        decay_corrected=known.decay_corrected,
        affine=tuple(map(tuple, image.affine.tolist())),
        read_slices=read_slices,
        stamps=read_stamps([path, beside], where),
        given=usable_dose(*known.given, plan.accepted),
        administered=known.administered,
    )


def open_image(
    path: Path, where: str, *, frames: bool = True, by_slices: bool = False
) -> tuple[Any, Grid]:
    """A NIfTI image, whose voxels stay on disk, and its grid.

    Args:
        path: The file.
        where: Its place in the plan, for messages.
        frames: It is dynamic; otherwise it has three axes, or a fourth of length 1.
        by_slices: It is never read whole.

    Raises:
        InputError: It is missing, no such image, or on a grid that dtsinn does not read.
    """
    image = _open(path, where)
    return image, _grid(image, path, where, frames=frames, by_slices=by_slices)


def _open(path: Path, where: str) -> Any:
    wanted = ".nii or .nii.gz, relative to the plan"
    if not is_file(path):
        raise InputError(f"{where}: no such file", wanted=wanted)
    foreign = InputError(f"{where} is no NIfTI file", wanted=wanted)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise foreign
    try:
        with open_file(path) as file, gzip.GzipFile(fileobj=file) as unpacked:
            packed = path.name.endswith(".gz")
            _check_header(io.BufferedReader(unpacked) if packed else file, where)
        image = nibabel.load(path, mmap=False)
    except InputError:
        raise
    except Exception as error:  # readers raise many kinds, and their text holds the path
        got = type(error).__name__
        raise InputError(f"{where} cannot be read as NIfTI", got=got, wanted=wanted) from None
    if not isinstance(image, nibabel.Nifti1Image):  # CIFTI-2 has the same suffix
        raise foreign
    return image


def _check_header(file: BinaryIO, where: str) -> None:
    """Refuse extensions that nibabel would read whole, as large as they say they are.

    It also takes a scale that is no number for none, which makes other images of the scan.
    """
    head = file.read(4)
    order = next((o for o in "<>" if struct.unpack(f"{o}i", head)[0] in (348, 540)), None)
    if order is None:
        return  # no NIfTI file: nibabel tells
    (size,) = struct.unpack(f"{order}i", head)
    head += file.read(size)
    # vox_offset, scl_slope and scl_inter: floats in NIfTI-1, a long and doubles in NIfTI-2.
    fields = ("fff", 108) if size == 348 else ("qdd", 168)
    start, slope, intercept = struct.unpack_from(order + fields[0], head, fields[1])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise InputError(
            f"{where}: scl_slope and scl_inter",
            got=f"{slope:g} and {intercept:g}",
            wanted="numbers, or 0 and 0 for none",
        )
    position = size + 4  # behind four bytes that say whether extensions follow
    if not 0 <= start <= MOST_HEADER:
        raise InputError(
            f"{where}: vox_offset", got=f"{start:g}", wanted=f"at most {in_words(MOST_HEADER)}"
        )
    head += file.read(max(0, int(start) - len(head)))
    if not any(head[size : size + 1]):
        return
    while position + LEAST_EXTENSION <= start or start < position:
        (length,) = struct.unpack_from(f"{order}i", head, position)
        if not LEAST_EXTENSION <= length <= start - position:
            raise InputError(
                f"{where}: an extension of its header",
                got=f"{length} bytes",
                wanted=f"{LEAST_EXTENSION} to {max(0, int(start) - position)}, all before the "
                "voxels",
            )
        position += length


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _grid(image: Any, path: Path, where: str, *, frames: bool, by_slices: bool) -> Grid:
    header, shape = image.header, tuple(image.shape)
    if not frames and len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) != 4 or min(shape) < 1 or (not frames and shape[3] != 1):
        kind, wanted = ("dynamic scan", "x, y, z and frames") if frames else ("volume", "x, y, z")
        got = " x ".join(map(str, image.shape))
        raise InputError(f"{where} is no {kind}", got=got, wanted=wanted)
    if header.get_data_dtype().kind not in "iuf":
        raise InputError(f"{where}: type of the voxels", got=header.get_data_dtype(), wanted="real")
    (state,) = read_stamps([path], where)
    voxels = math.prod(shape) * header.get_data_dtype().itemsize
    promised = image.dataobj.offset + voxels
    packed = path.name.endswith(".gz")
    together = 1 if by_slices else shape[3]  # no slice is larger than a frame
    refuse_absurd(where, shape[:3], together, promised, state[0], packed=packed)
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise InputError(
            f"{where} does not say how it is oriented",
            got="sform_code and qform_code 0",
            wanted="one of them set, so that left and right are known",
        )
    if int(header["sform_code"]) > 0 and int(header["qform_code"]) > 0:
        _refuse_two_orientations(header, where)
    unit = int(header["xyzt_units"]) & 7
    if unit not in (0, 2):  # the standard's codes: 1 m, 2 mm, 3 micron; many files leave 0
        raise InputError(f"{where}: unit of length", got=f"xyzt_units {unit}", wanted="2, mm")
    return grid_of(np.asarray(image.affine, dtype=np.float64), shape, where)


def _refuse_two_orientations(header: Any, where: str) -> None:
    """Refuse a header whose two affines disagree on left, front or head: programs choose either."""
    try:
        affines = (header.get_sform(), header.get_qform())
        sides = ["".join(aff2axcodes(one)) for one in affines]  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):
        return  # an affine that is none: the other one is taken, and checked
    if sides[0] != sides[1]:
        raise InputError(
            f"{where} says twice how it is oriented, and differently",
            got=f"{sides[0]} by sform and {sides[1]} by qform",
            wanted="one orientation, so that left and right are known",
            hint="a header with the right one in both",
        )


def _read(
    image: Any, grid: Grid, factor_T: FloatArray, which: slice, where: str, *, nan: bool
) -> FloatArray:
    """[S, T, Y, X] kBq/mL; only the slices asked for are read and turned."""
    Z = grid.size[0]
    first, last, _ = which.indices(Z)
    axis = int(np.flatnonzero(grid.orientation[:, 0] == 2)[0])
    index = [slice(None)] * 4
    flipped = grid.orientation[axis, 1] < 0
    index[axis] = slice(Z - last, Z - first) if flipped else slice(first, last)
    try:
        voxels = np.asarray(image.dataobj[tuple(index)])
    except Exception as error:  # readers raise many kinds, and their text holds the path
        refuse_passing(where, error)
        raise InputError(
            f"{where} is damaged", got=type(error).__name__, wanted="all of its voxels"
        ) from None
    ras_XYST = apply_orientation(voxels, grid.orientation)  # type: ignore[no-untyped-call]
    from_front_STYX = ras_XYST.transpose(2, 3, 1, 0)[:, :, ::-1]
    _refuse_non_numbers(from_front_STYX, first, where, nan=nan)
    present_STYX = np.multiply(
        from_front_STYX, factor_T[:, None, None], dtype=np.float64, order="C"
    )
    return np.asarray(present_STYX)


def _refuse_non_numbers(
    images_STYX: npt.NDArray[Any], first: int, where: str, *, nan: bool
) -> None:
    bad = (np.isinf(images_STYX) if nan else ~np.isfinite(images_STYX)).any(axis=(2, 3))
    if bad.any():
        one, frame = np.argwhere(bad)[0].tolist()
        raise InputError(
            f"{where}: {'infinity' if nan else 'NaN or infinity'} in frame {frame}, slice "
            f"{first + one} from the feet",
            wanted="numbers",
        )
