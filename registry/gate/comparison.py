"""A candidate's answers on the gate's cells, and those of whoever it meets there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.progress import Progress, no_progress
from dtsinn.deploy.export import check_parity, invertible_part, open_session, run_session
from dtsinn.deploy.manifest import MODEL_NAME
from dtsinn.deploy.package import read_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.score import Separate, SubjectScore, halve, score_subjects
from dtsinn.registry.gate.cells import GateCell, GateCells

CellScores = dict[str, list[SubjectScore]]
"""Scores of all subjects, by the cell's key."""


@dataclass(frozen=True, kw_only=True)
class LoadedPackage:
    """A separator at the gate."""

    ref: str
    """What people call it: ``NAME/3``."""
    path: Path
    separator: Separator

    @classmethod
    def load(cls, ref: str, path: Path) -> LoadedPackage:
        """Verify and load the package at ``path``."""
        return cls(ref=ref, path=path, separator=Separator.load(path))


class Comparison:
    """A candidate at the gate: it separates each subject once, whoever it meets.

    Args:
        candidate: Who wants to become champion.
        cells: The subjects.
        progress: Told of each cell that was scored.
    """

    def __init__(
        self, candidate: LoadedPackage, cells: GateCells, progress: Progress = no_progress
    ) -> None:
        self.candidate, self.cells, self._progress = candidate, cells, progress
        self.round_trip = 0.0
        """Largest relative error of mixing separated tracers again."""
        self._parity = 0.0
        self._ours: CellScores | None = None

    def ours(self) -> CellScores:
        """The candidate's scores.

        Raises:
            RunError: It gives no finite answer.
        """
        if self._ours is None:
            self._ours = self._scored("candidate", lambda cell: self._separate)
        return self._ours

    def theirs(self, champion: LoadedPackage | None) -> CellScores:
        """The champion's scores; those of half the mixture where there is none.

        Raises:
            RunError: It gives no finite answer.
        """

        def way(cell: GateCell) -> Separate:
            if champion is None:
                return halve
            return champion.separator.for_protocol(cell.store.header).separate

        return self._scored("opponent", way)

    def parity(self) -> float:
        """Largest relative difference of ONNX Runtime from torch, on these images and the export's.

        Raises:
            RunError: ONNX Runtime refuses the graph.
        """
        proof = check_parity(self.candidate.path)
        return max(self._parity, proof.model_error, proof.inverse_error or 0.0)

    def _scored(self, who: str, way: Callable[[GateCell], Separate]) -> CellScores:
        scores: CellScores = {}
        cells = self.cells.cells
        for cell in cells:
            self._progress(f"{who} at the gate", len(scores), len(cells))
            scores[cell.key] = score_subjects(way(cell), cell.store, cell.split)
        self._progress(f"{who} at the gate", len(scores), len(cells))
        return scores

    def _separate(self, mixture_NTYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Separate, and measure how exactly on the way."""
        separator = self.candidate.separator
        tracers_NKTYX = separator.separate(mixture_NTYX)
        if separator.network.exact:
            error = round_trip_error(separator, mixture_NTYX, tracers_NKTYX)
            self.round_trip = max(self.round_trip, error)
        if not self._parity:  # one subject is enough: the graph is the same for all
            self._parity = onnx_error(self.candidate.path, mixture_NTYX, tracers_NKTYX)
        return tracers_NKTYX


ONNX_SAMPLES = 4
"""Samples that parity is measured on: ONNX Runtime takes as long as torch."""


def round_trip_error(
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


def onnx_error(
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
