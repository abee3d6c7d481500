"""How exactly a packaged network mixes back, and how well its ONNX graph agrees with torch.

Both on the images of a real subject and relative to all of them together: a slice of pure air has
nothing that an error could be relative to. Shape letters: N sample, K tracer (2), T frame, Y X
pixel; all activities in kBq/mL.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtsinn.deploy.export import invertible_part, open_session, run_session
from dtsinn.deploy.manifest import MODEL_NAME
from dtsinn.deploy.package import read_package
from dtsinn.deploy.separator import Separator

ONNX_SAMPLES = 4
"""Samples that parity is measured on: ONNX Runtime takes as long as torch."""


def round_trip_difference(
    separator: Separator, mixture_NTYX: NDArray[np.float32], tracers_NKTYX: NDArray[np.float32]
) -> float:
    """Relative error of mixing separated tracers again, with the scale of the mixture.

    Where the network had to pad the slices, it is that of the part that needs no padding.
    """
    part_NTYX = invertible_part(mixture_NTYX, separator.network)
    if part_NTYX.shape != mixture_NTYX.shape:
        mixture_NTYX, tracers_NKTYX = part_NTYX, separator.separate(part_NTYX)
    mixed_NTYX = separator.mix(tracers_NKTYX, separator.scale(mixture_NTYX))
    return relative_difference(mixed_NTYX, mixture_NTYX)


def onnx_difference(
    package: Path, mixture_NTYX: NDArray[np.float32], tracers_NKTYX: NDArray[np.float32]
) -> float:
    """Relative difference of the package's ``model.onnx`` from what torch answered.

    Raises:
        RunError: ONNX Runtime refuses the graph.
    """
    session = open_session(package / MODEL_NAME, read_package(package)[0].contents[MODEL_NAME])
    wanted_NKTYX = tracers_NKTYX[:ONNX_SAMPLES]
    answers = run_session(session, {"mixture": mixture_NTYX[:ONNX_SAMPLES]}, wanted_NKTYX)
    return relative_difference(answers[0], wanted_NKTYX)


def relative_difference(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Norm of the difference over the norm of ``wanted``."""
    norm = float(np.linalg.norm(wanted.astype(np.float64)))
    return float(np.linalg.norm(got.astype(np.float64) - wanted)) / max(norm, 1e-30)
