"""What to simulate: the request of a study, checked, and the parts that it names."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dtsinn.core.checks import positive, same_word
from dtsinn.core.config import STRICT, config_names
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol, load_protocol
from dtsinn.core.seeds import generator
from dtsinn.core.tracer import Tracer, load_tracer
from dtsinn.simulation.anatomy.anatomy import BLOOD, NOTHING, Phantom
from dtsinn.simulation.anatomy.fields import HEAD_MM
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.population import Group, Population, load_population
from dtsinn.simulation.scanner.noise_model import NOISE_MODELS, NoiseModel
from dtsinn.simulation.scanner.scanner import Scanner, load_scanner

DEFAULT_SCANNER = "ge-dls"
BOUNDS = {
    "subjects": (1, 1_000_000),
    "slices": (1, 1000),
    "size": (8, 2048),
    "seed": (0, 2**63 - 1),
}
"""Smallest and largest number of each; beyond, no memory or no scanner has so many."""
RANGES = {
    "motion": (0.0, 50.0),
    "dose": (0.01, 100.0),
    "input_mismatch": (0.0, 0.5),
}
"""The same of what is no whole number; beyond, there is no scan of a living subject (uncited)."""
KINETICS = ("typical", "other")
"""``typical`` is each tracer's table, ``other`` what :data:`.population.OTHER_KINETICS` makes of
it."""
LONGEST_MM = 1.6 * HEAD_MM
"""Axial extent of contiguous slices, at most, mm: all of a head, and well within all fields."""
LABELS = ("truth", "osem")
"""``truth`` is free of noise, ``osem`` reconstructs a scan of each tracer alone."""


@dataclass(frozen=True, kw_only=True)
class StudyParts:
    """What the names and files of a request mean."""

    tracers: tuple[Tracer, Tracer]
    protocol: Protocol
    phantom: Phantom
    """With lesions, where any group of the population has them."""
    healthy: Phantom
    """As requested; draws the subjects of groups without lesions."""
    population: Population
    groups: tuple[Group, ...]
    """Of the population, those that apply to these tracers and this anatomy."""
    scanner: Scanner


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What to simulate; two equal requests give bit-identical subjects.

    Attributes:
        tracers: Names or YAML files, by order of injection.
        protocol: Name or YAML file.
        phantom: A key of :data:`dtsinn.simulation.anatomy.phantom.PHANTOMS`.
        noise: A level: low, mid or high; what it means, the noise model says.
        noise_model: A key of :data:`dtsinn.simulation.scanner.noise_model.NOISE_MODELS`.
        labels: One of :data:`LABELS`; ``osem`` goes with that noise model only.
        scanner: Name or YAML file; of the noise model ``osem``, the other one has none.
        subjects: How many.
        slices: Axial slices per subject.
        size: Pixels along each edge of the square images.
        seed: Of all draws.
        purpose: A word mixed into every seed: studies and suites never share subjects.
        population: Name or YAML file; ``uniform`` is what there was before there were others.
        dose: Factor on both doses.
        kinetics: One of :data:`KINETICS`.
        input_mismatch: Coefficient of variation by which the input functions that the store
            holds differ from those that made the images; 0 stores the true ones.
        motion: Standard deviation that rigid motion between frames has at the end of the scan: of
            the shift along each axis, mm, and of the rotation about each, degrees; 0 lies still.
        slice_spacing: Between contiguous slices, mm; None spreads the slices over the anatomy.
    """

    __pydantic_config__ = STRICT

    tracers: tuple[str, str] = ("fmz", "fdg")
    protocol: str = "p1"
    phantom: str = "brain"
    noise: str = "mid"
    noise_model: str = "image"
    labels: str = "truth"
    scanner: str = DEFAULT_SCANNER
    subjects: int = 60
    slices: int = 8
    size: int = 64
    seed: int = 0
    purpose: str = "study"
    population: str = "uniform"
    dose: float = 1.0
    kinetics: str = "typical"
    input_mismatch: float = 0.0
    motion: float = 0.0
    slice_spacing: float | None = None

    def __post_init__(self) -> None:
        for key, (lowest, highest) in BOUNDS.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise InputError(key, got=repr(value), wanted=f"a whole number from {lowest} on")
            if value > highest:
                raise InputError(key, got=value, wanted=f"at most {highest}")
        for key, (least, most) in RANGES.items():
            if not least <= getattr(self, key) <= most:
                wanted = f"a number from {least:g} to {most:g}"
                raise InputError(key.replace("_", " "), got=getattr(self, key), wanted=wanted)
        if self.slice_spacing is not None:
            _check_spacing(self.slices, self.slice_spacing)
        self._name_as_defined()
        if not self.purpose:
            raise InputError("purpose", got="an empty word", wanted="a word, such as study")
        for key, known in {
            "phantom": tuple(PHANTOMS),
            "noise_model": tuple(NOISE_MODELS),
            "labels": LABELS,
            "kinetics": KINETICS,
        }.items():
            value = getattr(self, key)
            if value not in known:
                raise InputError(
                    f"no such {key.replace('_', ' ')}",
                    got=repr(value),
                    wanted=f"one of {', '.join(known)}",
                )
        if self.labels != "truth" and not self.model.scans:
            raise InputError(
                "labels osem", got=f"noise model {self.noise_model}", wanted="noise model osem"
            )
        if len(self.tracers) != 2:
            raise InputError("tracers", got=f"{len(self.tracers)} names", wanted="two")
        if not self.model.scans and self.scanner != DEFAULT_SCANNER:
            raise InputError(
                f"scanner {self.scanner}",
                got=f"noise model {self.noise_model}, which has none",
                wanted="noise model osem",
            )
        levels = self.model.levels(self.parts.scanner)
        object.__setattr__(self, "noise", same_word(self.noise, levels))
        self.model.strength(self.noise, self.parts.scanner)
        _check_tracers(self)

    def _name_as_defined(self) -> None:
        """Write names as they are defined: equal requests have equal stores and digests."""
        known: dict[str, Iterable[str]] = {
            "protocol": config_names("protocols"),
            "phantom": PHANTOMS,
            "noise_model": NOISE_MODELS,
            "labels": LABELS,
            "kinetics": KINETICS,
            "population": config_names("populations"),
            "scanner": config_names("scanners"),
        }
        for key, words in known.items():
            object.__setattr__(self, key, same_word(getattr(self, key), words))
        tracers = tuple(same_word(name, config_names("tracers")) for name in self.tracers)
        object.__setattr__(self, "tracers", tracers)

    @property
    def model(self) -> type[NoiseModel]:
        """The noise model."""
        return NOISE_MODELS[self.noise_model]

    @functools.cached_property
    def parts(self) -> StudyParts:
        """What is named, loaded when the request was made: it travels with the request.

        A file that changes later changes neither what is simulated nor what the store says of it.
        """
        tracers = (load_tracer(self.tracers[0]), load_tracer(self.tracers[1]))
        population, healthy = load_population(self.population), PHANTOMS[self.phantom]()
        bearing = PHANTOMS[healthy.with_lesions]() if healthy.with_lesions else healthy
        known = set.intersection(*(set(tracer.tissues) for tracer in tracers))
        groups = population.applying(
            [tracer.name for tracer in tracers],
            [region.tissue for region in bearing.regions],
            [tissue for tissue in bearing.lesions if tissue in known],
            always=bool(healthy.lesions),
        )
        return StudyParts(
            tracers=tracers,
            protocol=load_protocol(self.protocol),
            phantom=bearing if any(group.lesions for group in groups) else healthy,
            healthy=healthy,
            population=population,
            groups=groups,
            scanner=load_scanner(self.scanner),
        )


def random_of(request: StudyRequest, index: int, *what: str) -> np.random.Generator:
    """The generator of one kind of draws of one subject: no draw depends on another kind."""
    return generator("subject", request.seed, request.purpose, index, *what)


def resolution_mm(request: StudyRequest) -> float:
    """Full width at half maximum of the point spread, mm; the truth has it too."""
    return request.model.resolution_mm(request.parts.scanner)


def voxel_size(request: StudyRequest) -> float:
    """Edge of a pixel, mm."""
    return request.parts.phantom.field_of_view_mm / request.size


def region_names(request: StudyRequest) -> tuple[str, ...]:
    """Names of the labels; index 0 is ``outside``."""
    return tuple(region.name for region in request.parts.phantom.regions)


def _check_spacing(slices: int, spacing_mm: float) -> None:
    positive("slice spacing", spacing_mm, "mm")
    if (slices - 1) * spacing_mm > LONGEST_MM:
        raise InputError(
            "slice spacing",
            got=f"{slices} slices at {spacing_mm:g} mm",
            wanted=f"at most {LONGEST_MM:g} mm from the first to the last",
            hint="fewer slices",
        )


def _check_tracers(request: StudyRequest) -> None:
    parts = request.parts
    tissues = [region.tissue for region in parts.phantom.regions]
    wanted = list(dict.fromkeys(t for t in tissues if t not in (NOTHING, BLOOD)))
    for tracer, injection in zip(parts.tracers, parts.protocol.injection_time, strict=True):
        missing = [tissue for tissue in wanted if tissue not in tracer.tissues]
        if missing:
            raise InputError(
                f"tracer {tracer.name!r} does not fit phantom {request.phantom!r}",
                got=f"no kinetics for {', '.join(missing)}",
                wanted=f"tissues {', '.join(wanted)}",
            )
        arrival = injection + 60.0 * tracer.input.delay_min
        if arrival >= parts.protocol.end:
            raise InputError(
                f"tracer {tracer.name!r} does not arrive within protocol {parts.protocol.name!r}",
                got=f"an arrival at {arrival:g} s",
                wanted=f"one before {parts.protocol.end:g} s",
            )
    first, second = parts.tracers
    if first.name == second.name:  # curves, scores and metrics are told apart by name
        raise InputError("tracers", got=f"{first.name} twice", wanted="two that differ")
