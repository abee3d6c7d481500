"""The dictionary of phantoms."""

from __future__ import annotations

from collections.abc import Callable

from dtsinn.simulation.anatomy.anatomy import Phantom
from dtsinn.simulation.anatomy.brain import load_brain
from dtsinn.simulation.anatomy.brain_lesion import load_brain_lesion
from dtsinn.simulation.anatomy.cylinder import load_cylinder
from dtsinn.simulation.anatomy.thorax import load_thorax

PHANTOMS: dict[str, Callable[[], Phantom]] = {
    "brain": load_brain,
    "brain-lesion": load_brain_lesion,
    "thorax": load_thorax,
    "cylinder": load_cylinder,
}
"""What makes each phantom, by name; called without arguments."""
