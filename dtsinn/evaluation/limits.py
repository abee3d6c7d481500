"""What readers of an evaluation accept: limits on kinetics and on conserved activity.

They are those of the shipped gate (``configs/gates/default.yaml``), which a user may change for
promotions; a test keeps both alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtsinn.evaluation.kinetics import KineticSummary


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that a measure may reach."""

    key: str
    """Its name in the gate's configuration, without ``_limit``."""
    label: str
    """What people read."""
    most: float
    unit: str

    @property
    def text(self) -> str:
        """The limit with its unit: ``10 %``."""
        return f"{self.most:g} {self.unit}".strip()


KINETIC_BIAS = Limit(key="kinetic_bias", label="kinetic_bias", most=10, unit="%")
WORST_REGION = Limit(key="worst_region", label="bias of the worst region", most=14, unit="%")
"""10 and 14 %: about what a correction for partial volume moves V_T by, 12 % (Cysouw 2019)."""
CONSERVATION = (
    Limit(key="body_residual", label="sum of the body", most=5, unit="%"),
    Limit(key="tile_residual", label="sum of the worst tile", most=15, unit="%"),
    Limit(key="region_residual", label="sum of the worst region", most=20, unit="%"),
    Limit(key="z", label="z of the regions", most=6, unit=""),
)
"""What the answers' sum may miss (uncited)."""
LIMITS = (KINETIC_BIAS, WORST_REGION, *CONSERVATION)


def measured(found: KineticSummary) -> dict[Limit, float]:
    """What was measured of each limited quantity, as far as it can be told."""
    conserved = found.conservation
    sums = (
        (None, None, None, None)
        if conserved is None
        else (conserved.body, conserved.tiles, conserved.regions, conserved.z)
    )
    values = (found.kinetic_bias, found.worst_bias, *sums)
    return {limit: value for limit, value in zip(LIMITS, values, strict=True) if value is not None}
