"""The model of a separation: an exported package, run by its graph alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import RunError
from dtsinn.deploy.digest import digest_of_files
from dtsinn.deploy.facts import INFO_NAME, SeparatorFacts, read_facts
from dtsinn.deploy.manifest import CALIBRATION_NAME, MODEL_NAME, verify_files
from dtsinn.deploy.onnx_check import check_graph
from dtsinn.deploy.onnx_session import open_session, run_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, repr=False)
class Model:
    """A package that is ready to run; :func:`open_model` makes it.

    Attributes:
        name: What the user calls it.
        facts: What it separates.
        kind: Of its network.
        digest: Of weights and configuration.
        session: Its graph, opened.
        calibration: Content of ``calibration.json``; None where the package has none.
    """

    name: str
    facts: SeparatorFacts
    kind: str
    digest: str
    session: InferenceSession
    calibration: bytes | None = None

    def separate(self, mixture_BTYX: Float32Array) -> Float32Array:
        """Tracers [B, 2, T, Y, X] of mixtures, both kBq/mL and not decay-corrected.

        Raises:
            RunError: ONNX Runtime fails, or answers NaN or infinity.
        """
        shape = mixture_BTYX.shape
        wanted = np.empty((shape[0], 2, *shape[1:]), np.float32)
        tracers_BKTYX = run_session(self.session, {"mixture": mixture_BTYX}, wanted)[0]
        if not np.isfinite([tracers_BKTYX.min(), tracers_BKTYX.max()]).all():
            raise RunError(f"{self.name} answers NaN or infinity", hint="another model")
        return tracers_BKTYX


def open_model(folder: Path, name: str = "", device: str = "cpu") -> Model:
    """Verify the package ``folder`` and open its graph.

    Args:
        folder: The package.
        name: What to call it; by default as the folder.
        device: Where it runs, ``cpu`` or ``cuda``.

    Raises:
        PackageError: The package is damaged, incomplete or not what it says.
        InputError: ONNX Runtime has no such device here.
    """
    files = verify_files(folder)
    facts, kind = read_facts(folder, files.contents[INFO_NAME])
    graph = files.contents[MODEL_NAME]
    check_graph(graph, folder / MODEL_NAME)
    return Model(
        name=name or folder.resolve().name,
        facts=facts,
        kind=kind,
        digest=digest_of_files(files, folder),
        session=open_session(folder / MODEL_NAME, graph, device=device),
        calibration=files.contents.get(CALIBRATION_NAME),
    )
