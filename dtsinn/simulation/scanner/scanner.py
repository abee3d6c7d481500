"""Scanners: geometry, scatter, randoms, counts and reconstruction, each value with its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from dtsinn.core.checks import not_negative, positive, short_name
from dtsinn.core.config import STRICT, load_config
from dtsinn.core.errors import InputError

MOST_TRUES = 1e12
"""More than any scanner counts in a slice; Poisson draws end at 9e18."""

MOST_VIEWS = 10_000
"""Views, subsets or iterations, at most: ten times those of any scanner."""


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A scanner that measures slices one by one, with parallel lines of response (LORs).

    Attributes:
        name: Short name, as on the command line.
        description: One line for people.
        resolution_fwhm_mm: Of the in-plane Gaussian point spread, mm.
        bin_width_mm: Distance of neighbouring LORs of one view, mm.
        angles: Number of views over 180 degrees.
        scatter_fraction: Scatter over trues and scatter, S / (T + S), of every frame.
        randoms_fraction: Randoms over all counts, R / (T + S + R), of every frame.
        iterations: Of the OSEM reconstruction, each over all subsets.
        subsets: Into which the views are divided, every ``subsets``-th view to one.
        postfilter_fwhm_mm: Of the Gaussian filter after the reconstruction, mm.
        trues: Expected true coincidences per slice over a whole scan, by noise level: every slice
            has them, whatever its dose and tracers.
        sources: Where each of the other values comes from, or "uncited".
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    resolution_fwhm_mm: float
    bin_width_mm: float
    angles: int
    scatter_fraction: float
    randoms_fraction: float
    iterations: int
    subsets: int
    postfilter_fwhm_mm: float
    trues: Mapping[str, float]
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        where = f"scanner {self.name!r}"
        short_name("scanner", self.name)
        for key in ("resolution_fwhm_mm", "bin_width_mm", "postfilter_fwhm_mm"):
            positive(f"{where}: {key}", getattr(self, key), "mm")
        for key in ("angles", "iterations", "subsets"):
            positive(f"{where}: {key}", getattr(self, key), "")
            if getattr(self, key) > MOST_VIEWS:
                wanted = f"at most {MOST_VIEWS}"
                raise InputError(f"{where}: {key}", got=getattr(self, key), wanted=wanted)
        for key in ("scatter_fraction", "randoms_fraction"):
            not_negative(f"{where}: {key}", getattr(self, key))
            if getattr(self, key) >= 1:
                raise InputError(f"{where}: {key}", got=getattr(self, key), wanted="less than 1")
        if self.angles % self.subsets:
            raise InputError(
                f"{where}: subsets",
                got=self.subsets,
                wanted=f"a divisor of the {self.angles} angles",
            )
        if not self.trues:
            raise InputError(f"{where}: trues", got="no level", wanted="at least one noise level")
        for level, trues in self.trues.items():
            positive(f"{where}: trues.{level}", trues, "counts per slice")
            if trues > MOST_TRUES:
                raise InputError(
                    f"{where}: trues.{level}", got=f"{trues:g}", wanted=f"at most {MOST_TRUES:g}"
                )
        _check_sources(where, self)

    def trues_of(self, level: str) -> float:
        """Expected trues per slice over a scan at a noise level.

        Raises:
            InputError: No such level.
        """
        if level not in self.trues:
            raise InputError(
                "no such noise level", got=repr(level), wanted=f"one of {', '.join(self.trues)}"
            )
        return self.trues[level]


def load_scanner(name_or_path: str) -> Scanner:
    """The scanner of a shipped name or of a user's YAML file.

    Raises:
        InputError: No such scanner, or its file holds something wrong.
    """
    return load_config(Scanner, "scanners", name_or_path)


def _check_sources(where: str, scanner: Scanner) -> None:
    unsourced = ("name", "description", "sources")
    wanted = [f.name for f in dataclasses.fields(scanner) if f.name not in unsourced]
    for key in wanted:
        if not scanner.sources.get(key, "").strip():
            raise InputError(f"{where}: sources: {key} has none", wanted="a source, or uncited")
    for key in scanner.sources:
        if key not in wanted:
            raise InputError(
                f"{where}: sources: no such value", got=key, wanted=f"one of {', '.join(wanted)}"
            )
