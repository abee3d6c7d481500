"""Where the gate's subjects come from: a suite that nothing else uses, or measured data.

The suite is simulated for the candidate's pair of tracers and its protocol, at several noise
levels, with seeds that no study and no other suite has. A store of measured scans with enough
``gate`` subjects decides in its place: it is what the separator will be used on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.evaluation.suite import (
    SPLIT,
    Combination,
    Suite,
    cell_store,
    cells_of,
    load_suite,
    own_protocol,
)
from dtsinn.registry.gate.config import GateConfig
from dtsinn.simulation.anatomy.phantom import PHANTOMS

GATE_SPLIT = "gate"
"""Split of a user's store that no training and no search reads."""
SIMULATED = "simulated"


@dataclass(frozen=True, kw_only=True)
class GateCell:
    """Subjects on which candidate and opponent meet."""

    key: str
    store: Store
    split: str
    decides: bool = True
    """Its subjects count for the interval; the other cells must only not be lost."""
    kinetic: bool = False
    """What a clinic reads is judged here."""


@dataclass(frozen=True, kw_only=True)
class GateCells:
    """All cells of a candidate, and why there are no more."""

    cells: Sequence[GateCell]
    lacking: str = ""
    """Why the suite could not be used, where it should have been."""


def gate_cells(
    info: SeparatorInfo,
    config: GateConfig,
    store: Store | None,
    workspace: Workspace,
    progress: Progress = no_progress,
) -> GateCells:
    """Make the cells of a candidate; the suite's are simulated once and kept in the workspace.

    Args:
        info: Description of the candidate.
        config: Names the suite.
        store: The candidate's own, whose ``gate`` subjects take part; None where it is gone.
        workspace: Where suites are kept.
        progress: Called during the simulation.
    """
    there = store.subject_count(GATE_SPLIT) if store is not None and store.header.has_truth else 0
    measured = store is not None and store.header.origin != SIMULATED
    own: list[GateCell] = []
    if store is not None and there:
        own = [_cell("store", store, GATE_SPLIT, config)]
    if config.suite is None or (measured and there >= config.min_subjects):
        return GateCells(cells=own)
    phantom = store.header.phantom if store is not None else ""
    suite = suite_for(load_suite(config.suite), info, phantom, workspace)
    try:
        planned = cells_of(suite)
    except InputError as error:
        return GateCells(cells=own, lacking=str(error))
    made = [
        _cell(cell.key, cell_store(cell, workspace, progress), SPLIT, config) for cell in planned
    ]
    return GateCells(cells=[*made, *(replace(cell, decides=False, kinetic=False) for cell in own)])


def _cell(key: str, store: Store, split: str, config: GateConfig) -> GateCell:
    """A cell that decides; kinetics are judged at one level of noise, and in measured data."""
    level = store.header.noise.rpartition(" ")[2]
    kinetic = store.header.origin != SIMULATED or level == config.kinetic_noise
    return GateCell(key=key, store=store, split=split, kinetic=kinetic)


def suite_for(suite: Suite, info: SeparatorInfo, phantom: str, workspace: Workspace) -> Suite:
    """Fit a suite without combinations to one separator: its pair, its frames, its anatomy.

    Args:
        suite: What is asked of every candidate.
        info: The separator.
        phantom: Anatomy that it was trained on; the suite's own where it is none of ours.
        workspace: Where frames are written that no shipped protocol has.

    Raises:
        InputError: The suite has combinations.
    """
    if suite.combinations:
        raise InputError(
            f"suite {suite.name!r}: combinations",
            got=len(suite.combinations),
            wanted="none, as a gate takes the candidate's own pair and protocol",
        )
    own = Combination(tracers=info.tracers, protocol=own_protocol(info, workspace))
    known = phantom if phantom in PHANTOMS else suite.phantom
    return replace(suite, phantom=known, combinations=(own,))
