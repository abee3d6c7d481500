"""A candidate's answers on the gate's cells, and those of the champion there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.numerics import relative_error
from dtsinn.core.progress import Progress, no_progress
from dtsinn.deploy.export import check_parity, invertible_part, open_session, run_session
from dtsinn.deploy.manifest import MODEL_NAME
from dtsinn.deploy.package import read_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.floor import separate_with
from dtsinn.evaluation.kinetics import KineticSummary, summarise_kinetics
from dtsinn.evaluation.score import Separate, SubjectScore, score_subjects
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.registry.gate.cells import GateCell, GateCells

CellScores = dict[str, list[SubjectScore]]
"""Scores of all subjects, by the cell's key."""


@dataclass(frozen=True, kw_only=True)
class LoadedPackage:
    """A package at the gate, loaded."""

    ref: str
    """Name of the version: ``NAME/3``."""
    path: Path
    separator: Separator

    @classmethod
    def load(cls, ref: str, path: Path) -> LoadedPackage:
        """Verify and load the package at ``path``."""
        return cls(ref=ref, path=path, separator=Separator.load(path))


class Comparison:
    """Compares a candidate with champions: it separates each subject once, whoever it meets.

    Args:
        candidate: The package that is to become champion.
        cells: The subjects.
        progress: Called for each cell that was scored.
    """

    def __init__(
        self, candidate: LoadedPackage, cells: GateCells, progress: Progress = no_progress
    ) -> None:
        self.candidate, self.cells, self._progress = candidate, cells, progress
        self.round_trip_error = 0.0
        """Largest relative error of mixing separated tracers again."""
        self._meters: dict[str, SubjectMeter] = {}
        self._onnx_error = 0.0
        self._candidate_scores: CellScores | None = None

    def candidate_scores(self) -> CellScores:
        """Score the candidate, once.

        Raises:
            RunError: It gives no finite answer.
        """
        if self._candidate_scores is None:
            self._candidate_scores = self._score("candidate", lambda cell: self._separate)
        return self._candidate_scores

    def opponent_scores(self, champion: LoadedPackage) -> CellScores:
        """Score the champion.

        Raises:
            RunError: It gives no finite answer.
        """

        def method(cell: GateCell) -> Separate:
            return champion.separator.for_protocol(cell.store.header).separate

        return self._score("champion", method)

    def kinetics(self, cell: GateCell, scores: CellScores) -> KineticSummary | None:
        """What scores of a cell say of read-outs and conservation; None without subjects."""
        meter = self._meter(cell)
        measures = {
            score.subject: score.measures
            for score in scores[cell.key]
            if score.measures is not None
        }
        return summarise_kinetics(measures, cell.store.header.protocol, meter.lacking)

    def floor_kinetics(self, cell: GateCell) -> KineticSummary | None:
        """The same of the linear map in the candidate's package; None where it has none."""
        floor = self.candidate.separator.floor
        if floor is None:
            return None
        separate = separate_with(floor, cell.store.header)
        scores = score_subjects(
            separate, cell.store, cell.split, self._meter(cell), structure=False
        )
        return self.kinetics(cell, {cell.key: scores})

    def _meter(self, cell: GateCell) -> SubjectMeter:
        """The meter of a cell, kept: it knows the true values."""
        if cell.key not in self._meters:
            self._meters[cell.key] = SubjectMeter.of(cell.store)
        return self._meters[cell.key]

    def onnx_error(self) -> float:
        """Largest relative error of ONNX Runtime against torch, on these images and the export's.

        Raises:
            RunError: ONNX Runtime refuses the graph.
        """
        proof = check_parity(self.candidate.path)
        return max(self._onnx_error, proof.model_error, proof.inverse_error or 0.0)

    def _score(self, who: str, method: Callable[[GateCell], Separate]) -> CellScores:
        scores: CellScores = {}
        cells = self.cells.cells
        for cell in cells:
            self._progress(f"{who} at the gate", len(scores), len(cells))
            meter = self._meter(cell) if cell.kinetic else None
            scores[cell.key] = score_subjects(
                method(cell), cell.store, cell.split, meter, structure=False
            )
        self._progress(f"{who} at the gate", len(scores), len(cells))
        return scores

    def _separate(self, mixture_NTYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Separate, and measure on the way how exactly."""
        separator = self.candidate.separator
        tracers_NKTYX = separator.separate(mixture_NTYX)
        if separator.network.exact:
            error = round_trip_error(separator, mixture_NTYX, tracers_NKTYX)
            self.round_trip_error = max(self.round_trip_error, error)
        if not self._onnx_error:  # one subject is enough: the graph is the same for all
            self._onnx_error = onnx_error(self.candidate.path, mixture_NTYX, tracers_NKTYX)
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
    mixed_NTYX = separator.mix(
        tracers_NKTYX,
        separator.scale(mixture_NTYX),
        separator.latent(mixture_NTYX, tracers_NKTYX),
    )
    return relative_error(mixed_NTYX, mixture_NTYX)


def onnx_error(
    package: Path, mixture_NTYX: NDArray[np.float32], tracers_NKTYX: NDArray[np.float32]
) -> float:
    """Relative error of the package's ``model.onnx`` against what torch answered.

    Raises:
        RunError: ONNX Runtime refuses the graph.
    """
    session = open_session(package / MODEL_NAME, read_package(package)[0].contents[MODEL_NAME])
    wanted_NKTYX = tracers_NKTYX[:ONNX_SAMPLES]
    answers = run_session(session, {"mixture": mixture_NTYX[:ONNX_SAMPLES]}, wanted_NKTYX)
    return relative_error(answers[0], wanted_NKTYX)
