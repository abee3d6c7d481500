"""Input functions that a store keeps of its subjects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store

FloatArray = NDArray[np.float64]
ARRAYS = ("input_time", "plasma", "blood")
"""Arrays of a store that hold the input functions."""


@dataclass(frozen=True, kw_only=True)
class SubjectInputs:
    """The input functions of one subject, activity actually present."""

    time_I: FloatArray
    """s from the start of the scan, ascending."""
    plasma_KI: FloatArray
    """Parent in plasma, kBq/mL."""
    blood_KI: FloatArray
    """Whole blood, kBq/mL."""


def lacks_inputs(store: Store) -> str:
    """Why a store's mixtures cannot be analysed, or "" if they can."""
    missing = [name for name in ARRAYS if name not in store.arrays]
    return f"the store has no input functions ({', '.join(missing)})" if missing else ""


def subject_inputs(store: Store) -> dict[str, SubjectInputs]:
    """The input functions of a store, by subject.

    Raises:
        InputError: The store has none, or not one for each subject.
        StoreError: They are damaged.
    """
    reason = lacks_inputs(store)
    if reason:
        raise InputError(reason, wanted=", ".join(ARRAYS), hint="a simulated store")
    time_I, plasma, blood = (store.values(name) for name in ARRAYS)
    subjects = list(dict.fromkeys(store.subject_N))  # rows stand in the order of the samples
    if len(subjects) != len(plasma):
        raise InputError(
            f"{store.header.path}: input functions",
            got=f"those of {len(plasma)} subjects",
            wanted=f"of all {len(subjects)}",
        )
    return {
        subject: SubjectInputs(time_I=time_I, plasma_KI=plasma[row], blood_KI=blood[row])
        for row, subject in enumerate(subjects)
    }
