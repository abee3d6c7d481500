"""One MATLAB file with one slice: its shape without its numbers, and its numbers.

Nothing here says a file's name or what else the file holds: both may name a person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy.io.matlab import matfile_version

from dtsinn.core.errors import InputError
from dtsinn.data.importers.files import refuse_absurd, refuse_passing, stamps
from dtsinn.data.importers.mat.mat5 import DamagedError, Mat5Array, mat5_arrays, read_mat5

NUMERIC = frozenset(
    ["double", "single"] + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
"""MATLAB's classes of numbers; logical, char, cell, struct, sparse and object are none."""


THE_KEY = "the array of the plan's key"
"""How messages name it: the key is the user's word, which no message repeats."""


def mat_shape(path: Path, key: str, where: str) -> tuple[int, int, int]:
    """Rows, columns and frames of the array ``key``, from the headers of the file alone.

    MATLAB drops trailing dimensions of one; they are put back. Version 7.3 stores the axes in
    reverse; they are turned round.

    Args:
        path: A MATLAB file of version 5, 7 or 7.3.
        key: Name of the array.
        where: What the file is, for errors.

    Raises:
        InputError: The file is no such file, is damaged, or holds no such array of numbers.
    """
    if _is_hdf5(path, where):
        kind, shape = _hdf5_header(path, key, where)
    else:
        array = _find_mat5(path, key, where)
        kind, shape = array.kind, array.shape
    if kind not in NUMERIC:
        raise InputError(
            f"{where}: {THE_KEY} holds no real numbers", got=kind, wanted="double, single or intN"
        )
    if 0 in shape:
        raise InputError(f"{where}: {THE_KEY} is empty", got=_by(shape))
    if len(shape) not in (2, 3):
        raise InputError(
            f"{where}: {THE_KEY}", got=f"{len(shape)} dimensions", wanted="rows x columns x frames"
        )
    rows, columns, frames = (*shape, 1)[:3]
    (state,) = stamps([path], where)  # MATLAB keeps a number in one byte at least
    refuse_absurd(where, (rows, columns), rows * columns * frames, state[0], packed=True)
    return rows, columns, frames


def read_mat(path: Path, key: str, where: str) -> npt.NDArray[np.floating[Any]]:
    """The array ``key`` as [Y, X, T] in double precision.

    Raises:
        InputError: As :func:`mat_shape`, or the numbers are damaged, NaN or infinite.
        RunError: The file cannot be read for now.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        refuse_passing(where, error)
    shape = mat_shape(path, key, where)  # the file may have changed since it was opened
    stored = _read_hdf5(path, key, where) if _is_hdf5(path, where) else _read_mat5(path, key, where)
    array_YXT = stored.reshape(shape).astype(np.float64)
    if not np.isfinite(array_YXT).all():
        raise InputError(f"{where}: {THE_KEY} holds NaN or infinity")
    return array_YXT


def _is_hdf5(path: Path, where: str) -> bool:
    """Whether the file is of version 7.3; anything but that and version 5 and 7 is refused."""
    try:
        if path.is_file() and h5py.is_hdf5(path):
            return True
        major, _ = matfile_version(str(path), appendmat=False)
    except OSError as error:
        raise InputError(f"{where} cannot be read", got=error.strerror or "no bytes") from None
    except Exception:  # foreign bytes: whatever the reader trips over
        raise InputError(f"{where} is empty or no MATLAB file", hint="save -v7 in MATLAB") from None
    if major != 1:
        raise InputError(
            f"{where} is a MATLAB file of another version",
            got="4" if major == 0 else "one that claims 7.3 but is no HDF5",
            wanted="version 5, 7 or 7.3",
            hint="save -v7 in MATLAB",
        )
    return False


def _find_mat5(path: Path, key: str, where: str) -> Mat5Array:
    try:
        arrays = mat5_arrays(path)
    except (DamagedError, OSError):
        raise _damaged(where) from None
    found = [array for array in arrays if array.name == key]
    if not found:
        raise _no_key(where, len(arrays))
    if len(found) > 1:
        raise InputError(
            f"{where} has more than one array of the plan's key", got=len(found), wanted="one"
        )
    return found[0]


def _read_mat5(path: Path, key: str, where: str) -> npt.NDArray[Any]:
    try:
        return read_mat5(path, _find_mat5(path, key, where))
    except (DamagedError, OSError, MemoryError) as error:
        refuse_passing(where, error)
        raise _damaged(where) from None


def _hdf5_header(path: Path, key: str, where: str) -> tuple[str, tuple[int, ...]]:
    try:
        with h5py.File(path, "r") as file:
            if key not in file:
                raise _no_key(where, len([name for name in file if name[0] != "#"]))
            item = file[key]
            kind = item.attrs.get("MATLAB_class", b"")
            kind = kind.decode() if isinstance(kind, bytes) else str(kind)
            if not isinstance(item, h5py.Dataset):
                return kind or "struct", ()
            if item.attrs.get("MATLAB_empty", 0):
                return "double", (0,)
            if item.dtype.names:  # MATLAB keeps a complex number as its two parts
                return "complex", ()
            numbers = {"f": "double", "i": "int64", "u": "uint64"}
            stored = numbers.get(item.dtype.kind, item.dtype.name)
            return (kind or stored) if stored in NUMERIC else stored, item.shape[::-1]
    except InputError:
        raise
    except Exception:
        raise _damaged(where) from None


def _read_hdf5(path: Path, key: str, where: str) -> npt.NDArray[Any]:
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[key][()]).T
    except Exception as error:
        refuse_passing(where, error)
        raise _damaged(where) from None


def _damaged(where: str) -> InputError:
    return InputError(
        f"{where} is cut short or damaged", hint="copy it again, or save it again in MATLAB"
    )


def _no_key(where: str, others: int) -> InputError:
    return InputError(
        f"{where} has no array of the plan's key",
        got=f"{others} of other names",
        hint="key in the plan",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
