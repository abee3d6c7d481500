"""Limits of the gate, and where its subjects come from."""

from __future__ import annotations

from dataclasses import dataclass

from dtsinn.core.config import STRICT, load_config
from dtsinn.core.errors import InputError

MOST_RESAMPLES = 1_000_000
"""Draws of the bootstrap at most: more change no digit that is shown."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Limits of the gate."""

    __pydantic_config__ = STRICT

    suite: str | None = "gate"
    """Name or YAML file of the suite that decides; null lets the store's own gate split decide."""
    min_subjects: int = 12
    """Subjects that decide, at least 2; fewer are no evidence."""
    confidence: float = 0.95
    """Confidence of the bootstrap interval of the mean difference, which must lie above 0; it is
    widened for few subjects (:func:`dtsinn.evaluation.metrics.expand_confidence`)."""
    resamples: int = 2000
    """Draws of the bootstrap, at least 100."""
    seed: int = 0
    """Seed of the bootstrap."""
    cell_loss_limit: float = 0.3
    """dB that any cell may lose against the opponent, mean over subjects (uncited)."""
    tracer_loss_limit: float = 0.3
    """dB that either tracer may lose against the opponent, mean over subjects (uncited)."""
    region_loss_limit: float = 5.0
    """Percentage points by which a region's mean absolute bias may exceed the champion's
    (uncited)."""
    kinetic_noise: str = "mid"
    """Noise level of the cell in which kinetics and conservation are judged; measured subjects,
    whose noise has no level, are judged where they decide."""
    kinetic_bias_limit: float = 10.0
    """Percent that the kinetic bias may be (uncited)."""
    worst_region_limit: float = 14.0
    """Percent that it may be in the worst region of either tracer (uncited)."""
    kinetic_loss_limit: float = 2.0
    """Percentage points by which either may exceed the champion's (uncited)."""
    body_residual_limit: float = 5.0
    """Percent by which the answers' sum may miss the mixture in the body, in any frame (uncited:
    the linear map's is 1 to 2.5)."""
    tile_residual_limit: float = 15.0
    """The same in the worst tile (uncited: the linear map's is 4 to 5)."""
    region_residual_limit: float = 20.0
    """The same in the worst region, against the noise-free sum (uncited: the linear map's is 12
    to 15)."""
    z_limit: float = 6.0
    """95 % quantile of |z| of the regions (uncited: the linear map's is 3.5 to 4.4, that of an
    unbiased answer 1.96)."""
    round_trip_limit: float = 1e-5
    """Relative error of mixing the separated tracers again."""
    onnx_parity_limit: float = 1e-5
    """Relative difference between ONNX Runtime and torch."""

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("min_subjects", self.min_subjects >= 2, "at least 2"),
            ("confidence", 0.5 <= self.confidence < 1, "in [0.5, 1)"),
            ("resamples", 100 <= self.resamples <= MOST_RESAMPLES, f"100 to {MOST_RESAMPLES}"),
            ("seed", self.seed >= 0, "0 or more"),
            ("cell_loss_limit", self.cell_loss_limit >= 0, "at least 0"),
            ("tracer_loss_limit", self.tracer_loss_limit >= 0, "at least 0"),
            ("region_loss_limit", self.region_loss_limit >= 0, "at least 0"),
            ("kinetic_bias_limit", self.kinetic_bias_limit > 0, "above 0"),
            ("worst_region_limit", self.worst_region_limit > 0, "above 0"),
            ("kinetic_loss_limit", self.kinetic_loss_limit >= 0, "at least 0"),
            ("body_residual_limit", self.body_residual_limit > 0, "above 0"),
            ("tile_residual_limit", self.tile_residual_limit > 0, "above 0"),
            ("region_residual_limit", self.region_residual_limit > 0, "above 0"),
            ("z_limit", self.z_limit > 0, "above 0"),
            ("round_trip_limit", 0 < self.round_trip_limit < 1, "in (0, 1)"),
            ("onnx_parity_limit", 0 < self.onnx_parity_limit < 1, "in (0, 1)"),
        ):
            if not fits:
                raise InputError(f"gate.{name}", got=getattr(self, name), wanted=wanted)


def load_gate(name_or_path: str = "default") -> GateConfig:
    """The shipped gate of that name, or a user's own YAML file.

    Raises:
        InputError: Neither exists, or it holds what no gate takes.
    """
    return load_config(GateConfig, "gates", name_or_path)
