"""Suites: evaluation grids of tracers, protocol and anatomy by noise level, and their stores."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.config import STRICT, load_config, to_mapping
from dtsinn.core.errors import InputError, StoreError
from dtsinn.core.lock import hold_lock
from dtsinn.core.progress import Progress
from dtsinn.core.version import code_version
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, StoreHeader, open_store
from dtsinn.simulation.request import StudyRequest

SPLIT = "test"
"""Split of all subjects of a cell."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What is injected, and how it is scanned."""

    __pydantic_config__ = STRICT

    tracers: tuple[str, str]
    """Names, in the order of injection."""
    protocol: str
    """Name, or path of a YAML file."""
    phantom: str | None = None
    """Anatomy, where it is not the suite's."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An evaluation grid; its cells are all noise levels by all combinations."""

    __pydantic_config__ = STRICT

    name: str
    description: str
    phantom: str = "brain"
    subjects: int
    """Per cell."""
    slices: int
    """Per subject."""
    size: int
    """Pixels per side."""
    seed: int = 0
    noise: tuple[str, ...]
    """Noise levels."""
    noise_model: str = "image"
    """What the levels mean, see :class:`dtsinn.simulation.request.StudyRequest`."""
    combinations: tuple[Combination, ...] = ()
    """Empty in suites of the gate, which takes each candidate's own."""
    population: str = "uniform"
    """How the subjects differ: name, or path of a YAML file."""

    def __post_init__(self) -> None:
        for name, least in (("subjects", 2), ("slices", 1), ("size", 16)):
            if getattr(self, name) < least:
                raise InputError(
                    f"suite {self.name!r}: {name}",
                    got=getattr(self, name),
                    wanted=f"at least {least}",
                )
        if not self.name.replace("-", "").replace("_", "").isalnum():
            raise InputError("suite: name", got=repr(self.name), wanted="letters, digits, - and _")
        for name in ("noise", "combinations"):
            values = getattr(self, name)
            if len({str(value).lower() for value in values}) != len(values):
                raise InputError(f"suite {self.name!r}: {name}", got=values, wanted="none twice")
        if self.seed < 0:
            raise InputError(f"suite {self.name!r}: seed", got=self.seed, wanted="0 or more")
        if not self.noise:
            raise InputError(f"suite {self.name!r}: noise", got="none", wanted="at least one level")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a suite, before anything is simulated."""

    key: str
    """Its unique name, safe in a file name."""
    digest: str
    """Digest of what decides its store: request, tracers, protocol and code; names the store."""
    request: StudyRequest
    planned: StoreHeader
    """What its store will be; samples and digest are not known yet."""


def load_suite(name_or_path: str) -> Suite:
    """The suite of a shipped name or of a user's YAML file.

    Raises:
        InputError: No such suite, or its file holds something wrong.
    """
    return load_config(Suite, "suites", name_or_path)


def cells_of(suite: Suite) -> list[Cell]:
    """All cells of a suite, by combination, then by noise level.

    Raises:
        InputError: It has no combinations, or one of them cannot be simulated.
    """
    if not suite.combinations:
        raise InputError(
            f"suite {suite.name!r} has no combinations",
            wanted="another suite: it is kept for the gate, which takes a candidate's own pair",
        )
    return [
        _cell(suite, combination, noise)
        for combination in suite.combinations
        for noise in suite.noise
    ]


def cell_store(cell: Cell, workspace: Workspace, progress: Progress) -> Store:
    """The store of a cell: simulated into the workspace, or the one that is there already.

    Its name is a digest of how it is made, so that a changed suite or code makes a new store.
    A store that does not open is one that was damaged since: it is made again.
    """
    from dtsinn.simulation.study import simulate_study  # here: not every evaluation simulates

    path = workspace.suites / f"{cell.digest}.zarr"
    with hold_lock(path.with_suffix(".lock")):  # two evaluations at once make it once
        store = _open_if_sound(path)
        if store is None:
            shutil.rmtree(path, ignore_errors=True)
            simulate_study(cell.request, str(path), progress=progress, splits={SPLIT: 1.0})
            store = open_store(str(path), need_truth=True)
    return store


def _open_if_sound(path: Path) -> Store | None:
    if not path.exists():
        return None
    try:
        return open_store(str(path), need_truth=True)
    except StoreError:
        return None


def _cell(suite: Suite, combination: Combination, noise: str) -> Cell:
    phantom = combination.phantom or suite.phantom
    request = StudyRequest(
        tracers=combination.tracers,
        protocol=combination.protocol,
        phantom=phantom,
        noise=noise,
        noise_model=suite.noise_model,
        subjects=suite.subjects,
        slices=suite.slices,
        size=suite.size,
        seed=suite.seed,
        purpose=f"suite-{suite.name}",
        population=suite.population,
    )
    parts = request.parts
    (first, second), protocol = parts.tracers, parts.protocol
    planned = StoreHeader(
        path="",
        tracers=(first.name, second.name),
        protocol=protocol,
        half_life=(first.half_life, second.half_life),
        size=(suite.size, suite.size),
        voxel_size=(0.0, 0.0),
        samples=0,
        region_names=(),
        has_truth=True,
        dtype="float32",
        origin="simulated",
        noise=noise if suite.noise_model == "image" else f"{suite.noise_model} {noise}",
        labels="truth",
        phantom=phantom,
        population=parts.population.name,
        seed=suite.seed,
        digest="",
        generator_version="",
    )
    names = [first.name, second.name, protocol.name, noise]
    key = "-".join(names if phantom == suite.phantom else [*names, phantom])
    return Cell(key=key, digest=request_digest(request), request=request, planned=planned)


def request_digest(request: StudyRequest) -> str:
    """Digest of all that decides a simulated study: request, tracers, protocol and code."""
    parts = request.parts
    (first, second), protocol = parts.tracers, parts.protocol
    # By name, not by the path of a file, which a workspace that moves takes along.
    asked = to_mapping(request) | {
        "tracers": [first.name, second.name],
        "protocol": protocol.name,
        "population": parts.population.name,
    }
    named = (protocol, parts.scanner, parts.population, first, second)
    made_of = [asked, *map(to_mapping, named)]
    text = json.dumps([made_of, code_version()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
