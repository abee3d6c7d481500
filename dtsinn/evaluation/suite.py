"""Suites: grids of what is scanned, how, and of whom, by noise level; their cells and stores.

``docs/suites.md`` describes the files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dtsinn.core.atomic import replace_file
from dtsinn.core.config import STRICT, from_mapping, load_config, to_mapping
from dtsinn.core.display import value_text
from dtsinn.core.errors import InputError, StoreError, naming
from dtsinn.core.lock import hold_lock
from dtsinn.core.paths import home_path, is_file
from dtsinn.core.progress import Progress
from dtsinn.core.protocol import (
    Protocol,
    load_protocol,
    protocol_names,
    protocol_of_frames,
    protocol_text,
)
from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.core.version import source_digest
from dtsinn.core.workspace import Workspace
from dtsinn.data.header import USUAL, conditions_text
from dtsinn.data.store import Store, StoreHeader, open_store
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.request import StudyRequest

SPLIT = "test"
"""Split of all subjects of a cell."""
OWN: Literal["own"] = "own"
"""What the first model was trained on, in place of a name."""
CONDITIONS = "kinetics", "dose", "input_mismatch", "motion", "slice_spacing"
"""Fields of a combination that a study is simulated with as they are."""
WITH_LESIONS = "own with lesions"
"""The phantom that it was trained on, with lesions in each subject."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What is injected and how it is scanned, and of whom; whatever is None is the suite's.

    The meaning of the conditions is that of :class:`dtsinn.simulation.request.StudyRequest`.
    """

    __pydantic_config__ = STRICT

    tracers: tuple[str, str] | Literal["own"] = OWN
    """Names, in the order of injection; ``own`` is the pair of the first model."""
    protocol: str = OWN
    """Name, or path of a YAML file; ``own`` has the frames of the first model."""
    phantom: str | None = None
    """Anatomy: a name, ``own``, or ``own with lesions``."""
    population: str | None = None
    noise_model: str | None = None
    dose: float = StudyRequest.dose
    kinetics: str = StudyRequest.kinetics
    input_mismatch: float = StudyRequest.input_mismatch
    motion: float = StudyRequest.motion
    slice_spacing: float | None = StudyRequest.slice_spacing

    @property
    def unusual(self) -> str:
        """Its conditions in words, where they are not the usual ones."""
        words = conditions_text(to_mapping(self))
        apart = "" if self.slice_spacing is None else f"slices {self.slice_spacing:g} mm apart"
        return ", ".join(word for word in (words, apart) if word not in ("", USUAL))


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An evaluation grid; its cells are all noise levels by all combinations by what is varied."""

    __pydantic_config__ = STRICT

    name: str
    description: str
    phantom: str = "brain"
    """Name; ``own`` is that of the first model's training, the brain where it is none of ours."""
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
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Field of a combination -> values: every combination is asked with each of them."""
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
        for name, values in (
            ("noise", self.noise),
            ("combinations", self.combinations),
            *((f"vary.{name}", values) for name, values in self.vary.items()),
        ):
            if len({str(value).lower() for value in values}) != len(values):
                raise InputError(f"suite {self.name!r}: {name}", got=values, wanted="none twice")
            if not values and name != "combinations":
                raise InputError(f"suite {self.name!r}: {name}", got="none", wanted="at least one")
        if self.seed < 0:
            raise InputError(f"suite {self.name!r}: seed", got=self.seed, wanted="0 or more")
        for _ in self.grid():  # what is varied is read as strictly as the rest
            pass

    def grid(self) -> Iterator[Combination]:
        """All combinations with all that is varied, in the order of the file."""
        for combination, values in itertools.product(
            self.combinations, itertools.product(*self.vary.values())
        ):
            changed = dict(zip(self.vary, values, strict=True))
            plain = to_mapping(combination) | changed
            yield from_mapping(Combination, plain, f"suite {self.name!r}: vary")

    @property
    def most_cells(self) -> int:
        """Cells at most: those that come out alike for a model are asked once."""
        return len(self.noise) * sum(1 for _ in self.grid())

    @property
    def asks_own(self) -> bool:
        """Whether its cells depend on the model."""
        return any(
            OWN in (one.tracers, one.protocol, one.phantom or self.phantom)
            or one.phantom == WITH_LESIONS
            for one in self.grid()
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a suite, before anything is simulated."""

    key: str
    """Its unique name, safe in a file name."""
    planned: StoreHeader
    """What its store will be; samples and digest are not known yet."""
    digest: str = ""
    """Digest of what decides its store: request, tracers, protocol and code; names the store."""
    request: StudyRequest | None = None
    """None where it cannot be simulated."""
    reason: str = ""
    """Why it cannot."""
    varied: str = ""
    """Population and conditions in words, where they are not the suite's and the usual ones."""


def load_suite(name_or_path: str) -> Suite:
    """The suite of a shipped name or of a user's YAML file.

    Raises:
        InputError: No such suite, or its file holds something wrong: also a name that means
            nothing, or a number that no model could be asked.
    """
    suite = load_config(Suite, "suites", name_or_path)
    with naming(f"suite {suite.name!r}"):
        _check_values(suite)
    return suite


def cells_of(
    suite: Suite, info: SeparatorInfo | None = None, workspace: Workspace | None = None
) -> list[Cell]:
    """All cells of a suite, by combination, then by noise level.

    What depends on the model and cannot be simulated is a cell with a reason; of cells that come
    out alike for this model only the first is there.

    Args:
        suite: What is asked.
        info: Of the model that ``own`` stands for.
        workspace: Where frames are written that no shipped protocol has.

    Raises:
        InputError: It has no combinations, asks for a model's own without one, or one that names
            all its parts cannot be simulated.
    """
    if not suite.combinations:
        raise InputError(
            f"suite {suite.name!r} has no combinations",
            wanted="another suite: it is kept for the gate, which takes a candidate's own pair",
        )
    if suite.phantom == OWN:
        suite = replace(suite, phantom=_own_phantom(info) or "brain")
    found: dict[str, Cell] = {}
    for combination in suite.grid():
        for noise in suite.noise:
            cell = _plan(suite, combination, noise, info, workspace)
            key, number = cell.key, 1
            while key in found and found[key].digest != cell.digest:  # files that share a name
                number += 1
                key = f"{cell.key}-{number}"
            found.setdefault(key, replace(cell, key=key))
    return list(found.values())


def cell_store(
    cell: Cell, workspace: Workspace, progress: Progress, workers: int | None = None
) -> Store:
    """The store of a cell: simulated into the workspace, or the one that is there already.

    Its name is a digest of how it is made, so that a changed suite or code makes a new store.
    A store that does not open is one that was damaged since: it is made again.

    Args:
        cell: One that can be simulated.
        workspace: Where it is kept.
        progress: Told of the simulation.
        workers: Processes that simulate; by default one per core.

    Raises:
        InputError: The cell cannot be simulated.
    """
    from dtsinn.simulation.study import simulate_study  # here: not every evaluation simulates

    if cell.request is None:
        raise InputError(f"cell {cell.key} cannot be simulated", got=cell.reason)
    path = workspace.suites / f"{cell.digest}.zarr"
    with hold_lock(path.with_suffix(".lock")):  # two evaluations at once make it once
        store = _open_if_sound(path)
        if store is None:
            shutil.rmtree(path, ignore_errors=True)
            simulate_study(
                cell.request, str(path), workers=workers, progress=progress, splits={SPLIT: 1.0}
            )
            store = open_store(str(path), need_truth=True)
    return store


def own_protocol(info: SeparatorInfo, workspace: Workspace) -> str:
    """Name of the shipped protocol with a model's frames, or the path of a file with them.

    Args:
        info: Of the model.
        workspace: Where such a file is written.
    """
    own = _frames_of(info)
    if info.protocol in protocol_names() and _same_frames(load_protocol(info.protocol), own):
        return info.protocol
    text = protocol_text(own)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    workspace.suites.mkdir(parents=True, exist_ok=True)
    path = workspace.suites.absolute() / f"protocol-{digest}.yaml"
    if not path.exists():
        replace_file(path, text)
    return str(path)


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
    text = json.dumps([made_of, source_digest()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _check_values(suite: Suite) -> None:
    """Refuse what is wrong whatever the model is: it would be a cell that does not apply."""
    conditions: set[tuple[Any, ...]] = set()
    tracers: set[str] = set()
    protocols: set[str] = set()
    for one in suite.grid():
        phantom = one.phantom or suite.phantom
        phantom = "brain" if phantom in (OWN, WITH_LESIONS) else phantom
        population, model = one.population or suite.population, one.noise_model or suite.noise_model
        conditions.add((phantom, population, model, *(getattr(one, name) for name in CONDITIONS)))
        tracers.update(() if one.tracers == OWN else one.tracers)
        protocols.update(() if one.protocol == OWN else (one.protocol,))
    fields = ("phantom", "population", "noise_model", *CONDITIONS)
    for values, noise in itertools.product(conditions, suite.noise):
        StudyRequest(noise=noise, slices=suite.slices, **dict(zip(fields, values, strict=True)))
    for name in tracers:
        load_tracer(name)
    for name in protocols:
        load_protocol(name)


def _plan(
    suite: Suite,
    combination: Combination,
    noise: str,
    info: SeparatorInfo | None,
    workspace: Workspace | None,
) -> Cell:
    """One cell; one that depends on the model and cannot be simulated says why."""
    asks_own = OWN in (combination.tracers, combination.protocol)
    if info is None or workspace is None:
        if asks_own or combination.phantom in (OWN, WITH_LESIONS):
            raise InputError(f"suite {suite.name!r} asks for a model's own pair or protocol")
        return _cell(suite, combination, noise)
    phantom = combination.phantom
    if phantom in (OWN, WITH_LESIONS):
        own = _own_phantom(info) or suite.phantom
        phantom = own if phantom == OWN else _with_lesions(own)
    named = replace(
        combination,
        tracers=info.tracers if combination.tracers == OWN else combination.tracers,
        protocol=own_protocol(info, workspace)
        if combination.protocol == OWN
        else combination.protocol,
        phantom=phantom,
    )
    unknown = [name for name in info.tracers if name not in tracer_names()]
    if combination.tracers == OWN and unknown:
        reason = f"no kinetics of the model's tracer {unknown[0]} are known; try --data STORE"
        return _cell_without_store(suite, named, noise, info, reason)
    try:
        return _cell(suite, named, noise)
    except InputError as error:
        if not asks_own:
            raise
        return _cell_without_store(suite, named, noise, info, str(error))


def _cell(suite: Suite, combination: Combination, noise: str) -> Cell:
    first, second = _names(combination)
    request = StudyRequest(
        tracers=(_from_root(first), _from_root(second)),
        protocol=_from_root(combination.protocol),
        phantom=combination.phantom or suite.phantom,
        noise=noise,
        noise_model=combination.noise_model or suite.noise_model,
        subjects=suite.subjects,
        slices=suite.slices,
        size=suite.size,
        seed=suite.seed,
        purpose=f"suite-{suite.name}",
        population=_from_root(combination.population or suite.population),
        **{name: getattr(combination, name) for name in CONDITIONS},
    )
    parts = request.parts
    one, other = parts.tracers
    image = request.noise_model == "image"
    planned = StoreHeader(
        path="",
        tracers=(one.name, other.name),
        protocol=parts.protocol,
        half_life=(one.half_life, other.half_life),
        size=(suite.size, suite.size),
        voxel_size=(0.0, 0.0),
        samples=0,
        region_names=(),
        has_truth=True,
        dtype="float32",
        origin="simulated",
        noise=request.noise if image else f"{request.noise_model} {request.noise}",
        labels="truth",
        phantom=request.phantom,
        population=parts.population.name,
        conditions=conditions_text(to_mapping(request)),
        seed=suite.seed,
        digest="",
        generator_version="",
    )
    key = _key(suite, combination, planned)
    return Cell(
        key=key,
        digest=request_digest(request),
        request=request,
        planned=planned,
        varied=_varied(suite, combination, planned),
    )


def _cell_without_store(
    suite: Suite, combination: Combination, noise: str, info: SeparatorInfo, reason: str
) -> Cell:
    model = combination.noise_model or suite.noise_model
    planned = StoreHeader(
        path="",
        tracers=_names(combination),
        protocol=_frames_of(info)
        if combination.protocol.endswith(".yaml")
        else load_protocol(combination.protocol),
        half_life=info.half_life,
        size=(suite.size, suite.size),
        voxel_size=(0.0, 0.0),
        samples=0,
        region_names=(),
        has_truth=False,
        dtype="float32",
        origin="simulated",
        noise=noise if model == "image" else f"{model} {noise}",
        labels="truth",
        phantom=combination.phantom or suite.phantom,
        population=combination.population or suite.population,
        conditions=conditions_text(to_mapping(combination)),
        seed=suite.seed,
        digest="",
        generator_version="",
    )
    return Cell(
        key=_key(suite, combination, planned),
        planned=planned,
        reason=reason,
        varied=_varied(suite, combination, planned),
    )


def _varied(suite: Suite, combination: Combination, planned: StoreHeader) -> str:
    others = combination.population not in (None, suite.population)
    words = [f"population {planned.population}" * others, combination.unusual]
    return ", ".join(filter(None, words))


def _key(suite: Suite, combination: Combination, planned: StoreHeader) -> str:
    """Pair, protocol and noise, then whatever is not the suite's."""
    names = [*planned.tracers, planned.protocol.name, planned.noise]
    names += [planned.phantom] * (planned.phantom != suite.phantom)
    if combination.population not in (None, suite.population):
        names.append(planned.population)
    usual = Combination()
    for name in CONDITIONS:
        value = getattr(combination, name)
        if value != getattr(usual, name):
            names.append(f"{name}-{value_text(value)}")
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(names)).strip("-.")


def _names(combination: Combination) -> tuple[str, str]:
    if combination.tracers == OWN:
        raise InputError("tracers", got=OWN, wanted="a model that has a pair")
    return combination.tracers


def _from_root(name: str) -> str:
    """A name as it is; of a file the absolute path: who simulates may run in another folder."""
    path = home_path(name)
    return str(path.resolve()) if path.suffix and is_file(path) else name


def _own_phantom(info: SeparatorInfo | None) -> str:
    """Anatomy of the model's first store; empty where it is none of ours."""
    data = info.lineage.trained_on if info is not None else ()
    return data[0].phantom if data and data[0].phantom in PHANTOMS else ""


def _with_lesions(phantom: str) -> str:
    """The phantom with lesions in each subject; itself where it has them, or none can be had."""
    return PHANTOMS[phantom]().with_lesions or phantom


def _frames_of(info: SeparatorInfo) -> Protocol:
    return protocol_of_frames(
        info.protocol, info.frame_start, info.frame_duration, info.injection_time
    )


def _same_frames(one: Protocol, other: Protocol) -> bool:
    return (one.frame_start, one.frame_duration, one.injection_time) == (
        other.frame_start,
        other.frame_duration,
        other.injection_time,
    )


def _open_if_sound(path: Path) -> Store | None:
    if not path.exists():
        return None
    try:
        return open_store(str(path), need_truth=True)
    except StoreError:
        return None
