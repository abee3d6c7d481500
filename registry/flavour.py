"""Loader of separator packages for ``mlflow.pyfunc``: no pickle, files checked before use.

A registered model names this module as its ``loader_module``; serving it needs dtsinn installed
(``mlflow models serve --env-manager local``). Shape letters: B batch, K tracer (2), T frame,
Y X pixel; all activities in kBq/mL.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import InputError
from dtsinn.deploy.separator import Separator


class SeparatorModel:
    """A separator behind MLflow's ``predict``."""

    def __init__(self, separator: Separator) -> None:
        self.separator = separator

    def predict(
        self, mixture_BTYX: NDArray[np.float32], params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X].

        Raises:
            InputError: Another type or shape (MLflow hands it over where no signature checks it).
        """
        frames = len(self.separator.info.frame_start)
        got_BTYX = np.asarray(mixture_BTYX)
        if got_BTYX.dtype != np.float32 or got_BTYX.ndim != 4 or got_BTYX.shape[1] != frames:
            raise InputError(
                "a mixture",
                got=f"{got_BTYX.dtype} {got_BTYX.shape}",
                wanted=f"float32 [B, {frames}, Y, X]",
            )
        return self.separator.separate(got_BTYX)


def _load_pyfunc(data_path: str) -> SeparatorModel:
    """MLflow's entry point: the package directory at ``data_path``, verified and loaded."""
    return SeparatorModel(Separator.load(Path(data_path)))
