"""A study in the published code's layout, written as MATLAB would."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from scipy.io import savemat

from dtsinn.core.errors import InputError
from dtsinn.core.seeds import generator
from dtsinn.importers.scans import IMPORTERS

PEOPLE = ("Brunhilde_Zwickl", "Xaver_Quast")
SLICES = (2, 10)
"""Numbers of slices, so that natural order differs from that of the alphabet."""
ROWS, COLUMNS, FRAMES = 6, 5, 18
KINDS = ("hybrid", "fmz", "fdg")
NAMES = r"(?P<subject>.+)_sample(?P<slice>\d+)"
STEMS = [f"{person}_sample{z}" for person in PEOPLE for z in SLICES]

Write = Callable[[Path, np.ndarray], None]


def write_v5(path: Path, array: np.ndarray) -> None:
    savemat(path, {"data": array})


def write_v7(path: Path, array: np.ndarray) -> None:
    savemat(path, {"data": array}, do_compression=True)


def write_v73(path: Path, array: np.ndarray) -> None:
    """As MATLAB does: a header of 512 bytes before the HDF5, axes in reverse, a class."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"] = array.T
        file["data"].attrs["MATLAB_class"] = np.bytes_("double")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)


WRITERS: dict[str, Write] = {"5": write_v5, "7": write_v7, "7.3": write_v73}


def images(kind: str, stem: str) -> np.ndarray:
    """[Y, X, T] of one file; the mixture is the sum of the tracers."""
    if kind == "hybrid":
        return images("fmz", stem) + images("fdg", stem)
    return generator(4, kind, stem).random((ROWS, COLUMNS, FRAMES))


def plain(**changes: Any) -> dict[str, Any]:
    """A plan; None leaves a key out."""
    plan = {
        "tracers": ["fmz", "fdg"],
        "protocol": "p1",
        "decay_corrected": False,
        "scale": 40.0,
        "voxel_size_mm": [2.5, 2.0],
        "slice_thickness_mm": 3.0,
        "subjects": NAMES,
    } | changes
    return {key: value for key, value in plan.items() if value is not None}


class Study:
    """A folder in the published layout, and a plan beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "source"
        self.path = folder / "plan.yaml"
        for kind in KINDS:
            (self.folder / kind).mkdir(parents=True)
            for stem in STEMS:
                self.write(kind, stem)

    def write(self, kind: str, stem: str, array: Any = None, by: Write = write_v5) -> Path:
        path = self.folder / kind / f"{stem}.mat"
        by(path, images(kind, stem) if array is None else array)
        return path

    def open(self, plan: Mapping[str, Any] | str | None = None) -> Any:
        content = (
            plan
            if isinstance(plan, str)
            else yaml.safe_dump(dict(plan or plain()), sort_keys=False)
        )
        self.path.write_text(content)
        return IMPORTERS["mat"].open(self.folder, self.path)

    def refusal(self, plan: Mapping[str, Any] | str | None = None) -> str:
        """What is said when the study is refused as it is opened."""
        return refusal(lambda: self.open(plan))


def refusal(call: Callable[[], Any]) -> str:
    """The message of a refusal, which is one line and names nobody."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    told = message + "".join(traceback.format_exception(caught.value))
    for name in ("brunhilde", "zwickl", "xaver", "quast", "sample2", "sample10"):
        assert name not in told.lower()
    return message
