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

from dtsinn.core.bounds import open_file
from dtsinn.core.errors import InputError
from dtsinn.importers.files import read_stamps, refuse_absurd, refuse_passing
from dtsinn.importers.mat.mat5 import Mat5Array, mat5_arrays, read_mat5
from dtsinn.importers.mat.mat73 import Elsewhere, find_mat73, read_mat73

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
    kind, shape = _header(path, key, where)
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
    (state,) = read_stamps([path], where)  # MATLAB keeps a number in one byte at least
    promised = rows * columns * frames
    refuse_absurd(where, (rows, columns), frames, promised, state[0], packed=True)
    return rows, columns, frames


def read_mat(
    path: Path, key: str, where: str, *, nan: bool = False
) -> npt.NDArray[np.floating[Any]]:
    """The array ``key`` as [Y, X, T] in double precision.

    Args:
        path: A MATLAB file of version 5, 7 or 7.3.
        key: Name of the array.
        where: What the file is, for errors.
        nan: Hand out NaN as it is.

    Raises:
        InputError: As :func:`mat_shape`, or the numbers are damaged, infinite or NaN.
        RunError: The file cannot be read for now.
    """
    try:
        open_file(path).close()
    except OSError as error:
        refuse_passing(where, error)
    shape = mat_shape(path, key, where)  # the file may have changed since it was opened
    stored = _read(path, key, where)
    array_YXT = stored.reshape(shape).astype(np.float64)
    if not (np.isfinite(array_YXT) | (np.isnan(array_YXT) & nan)).all():
        raise InputError(f"{where}: {THE_KEY} holds {'' if nan else 'NaN or '}infinity")
    return array_YXT


def _is_hdf5(path: Path, where: str) -> bool:
    """Whether the file is of version 7.3; anything but that and version 5 and 7 is refused."""
    try:
        with open_file(path) as file:
            if h5py.is_hdf5(path):
                return True
            major, _ = matfile_version(file, appendmat=False)  # type: ignore[arg-type]
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


def _header(path: Path, key: str, where: str) -> tuple[str, tuple[int, ...]]:
    """Class and shape, in MATLAB's order, of the one array ``key``."""
    try:
        if not _is_hdf5(path, where):
            array = _find_mat5(path, key, where)
            return array.kind, array.shape
        with h5py.File(path, "r") as file:
            return find_mat73(file, key)
    except InputError:
        raise
    except KeyError as error:
        raise _no_key_error(where, error.args[0]) from None
    except Elsewhere as error:
        raise _outside_error(where, error) from None
    except Exception:  # foreign bytes: whatever the readers trip over
        raise _damage_error(where) from None


def _read(path: Path, key: str, where: str) -> npt.NDArray[Any]:
    try:
        if not _is_hdf5(path, where):
            return read_mat5(path, _find_mat5(path, key, where))
        with h5py.File(path, "r") as file:
            return read_mat73(file, key)
    except InputError:
        raise
    except Elsewhere as error:
        raise _outside_error(where, error) from None
    except Exception as error:
        refuse_passing(where, error)
        raise _damage_error(where) from None


def _find_mat5(path: Path, key: str, where: str) -> Mat5Array:
    arrays = mat5_arrays(path)
    found = [array for array in arrays if array.name == key]
    if not found:
        raise KeyError(len(arrays))
    if len(found) > 1:
        raise InputError(
            f"{where} has more than one array of the plan's key", got=len(found), wanted="one"
        )
    return found[0]


def _damage_error(where: str) -> InputError:
    return InputError(
        f"{where} is cut short or damaged", hint="copy it again, or save it again in MATLAB"
    )


def _outside_error(where: str, error: Elsewhere) -> InputError:
    return InputError(
        f"{where}: {THE_KEY} lies outside the file",
        got=str(error),
        wanted="numbers in the file itself",
        hint="save -v7 in MATLAB",
    )


def _no_key_error(where: str, others: int) -> InputError:
    return InputError(
        f"{where} has no array of the plan's key",
        got=f"{others} of other names",
        hint="key in the plan",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
