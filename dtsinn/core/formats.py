"""What dtsinn writes to disk: each format's name and version, and how older ones are read.

A file outlives the version that wrote it. So whoever changes a format raises its version here and
adds the function that turns the content of the version before into the new one; readers know only
the newest. A new field with a default asks for neither, as long as its default means what was done
before there was the field: then an older file is read as what it is, and digests, which are taken
of what is written (:func:`dtsinn.deploy.package.separator_digest`), stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtsinn.core.errors import InputError

Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files, all of whose versions since ``oldest`` are read."""

    name: str
    version: int = 1
    """That is written."""
    oldest: int = 1
    """No user has a file of an earlier version."""
    marked: bool = True
    """Its first version names format and version; a content that does not is of that one."""
    upgrades: Mapping[int, Callable[[Content], Content]] = field(default_factory=dict)
    """For each older version what turns a content of it into one of the next."""

    @property
    def mark(self) -> Content:
        """The keys that every file of this format holds."""
        return {"format": self.name, "format_version": self.version}

    def read(
        self, content: Mapping[str, Any], where: str, error: type[InputError] = InputError
    ) -> Content:
        """The content of a file as the version that is written would hold it.

        Args:
            content: Plain data of the file; it is left as it is.
            where: What it is, for errors.
            error: What is raised.

        Raises:
            InputError: It is of another format, or of a version that is not known.
        """
        named = content.get("format", None if self.marked else self.name)
        if named != self.name:
            what = f"{where} is no {self.name.replace('-', ' ')}"
            raise error(what, got=repr(named)[:80], wanted=f"format {self.name!r}")
        version = content.get("format_version", None if self.marked else self.oldest)
        if type(version) is not int or not self.oldest <= version <= self.version:
            whole = type(version) is int and version > 0
            age = "newer" if not whole or version > self.version else "older"
            by = f"was written by a{'n' if age == 'older' else ''} {age} dtsinn"
            raise error(
                f"{where} {by if whole else 'is damaged'}",
                got=f"format_version {version!r}"[:80],
                wanted=f"{self.version} or older" if age == "newer" else f"{self.oldest} or newer",
                hint=f"the {age} dtsinn" if whole else "the file as dtsinn wrote it",
            )
        upgraded = dict(content)
        for known in range(version, self.version):
            upgraded = self.upgrades[known](upgraded)
        return upgraded | self.mark


def _name_outcomes(report: Content) -> Content:
    """Version 2 of a search's report says how trials end, and sessions, in other words."""
    words = {"stopped": "pruned", "spoiled": "infeasible"}
    renamed = {"fates": "outcomes", "sittings": "sessions", "stopped_share": "pruned_share"} | words

    def rename(part: Content) -> Content:
        return {
            renamed.get(key, key): rename(value) if isinstance(value, dict) else value
            for key, value in part.items()
        }

    return {
        renamed.get(key, key): rename(value) if key in ("fates", "budget") else value
        for key, value in report.items()
    }


def _make_halving_a_baseline(evaluation: Content) -> Content:
    """Version 3 of an evaluation has the linear map as its floor; there was none before."""

    def change(cell: Content) -> Content:
        halved = [] if cell["floor"] is None else [cell["floor"]]
        return cell | {"baselines": [*halved, *cell.get("baselines", [])], "floor": None}

    halving = {"name": "halved mixture", "settings": {}}
    return evaluation | {
        "baselines": [halving, *evaluation.get("baselines", [])],
        "cells": [change(cell) for cell in evaluation["cells"]],
    }


def _omit_floor(plan: Content) -> Content:
    """Version 2 of a plan says whether the search has a floor; none had one before."""
    return plan | {"floor": False}


def _add_population(evaluation: Content) -> Content:
    """Version 4 of an evaluation says of whom and under which conditions; older ones do not."""

    def change(scores: Content | None) -> Content | None:
        if scores is None or scores.get("novelty") is None:
            return scores
        seen = {"population": "unknown", "conditions": "unknown"} | scores["novelty"]
        return scores | {"novelty": seen}

    cells = [
        {"population": "", "conditions": ""}
        | cell
        | {"models": [change(scores) for scores in cell["models"]]}
        for cell in evaluation["cells"]
    ]
    return evaluation | {"cells": cells}


STORE = Format(name="dtsinn-store")
"""Attributes of a store (:mod:`dtsinn.data.layout`)."""
SEPARATOR = Format(name="dtsinn-separator", version=5, oldest=4, upgrades={4: dict})
"""``separator.json`` of a package (:mod:`dtsinn.deploy.info`); 5 says what it was trained on."""
MANIFEST = Format(name="dtsinn-manifest", version=3, upgrades={1: dict, 2: dict})
"""``manifest.json`` of a package (:mod:`dtsinn.deploy.manifest`); 2 may list the floor, 3 the
calibration."""
CALIBRATION = Format(name="dtsinn-calibration")
"""``calibration.json`` of a package (:mod:`dtsinn.separation.calibration`)."""
CHECKPOINT = Format(name="dtsinn-checkpoint", marked=False)
"""``state.json`` of a checkpoint (:mod:`dtsinn.training.state`)."""
EVENT_LOG = Format(name="dtsinn-event-log", version=2, marked=False, upgrades={1: dict})
"""Each line of a ``ledger.jsonl``, also of trainings (:mod:`dtsinn.eventlog.log`); 2 may tell of a
search's floor."""
SEARCH_PLAN = Format(name="dtsinn-search-plan", version=2, marked=False, upgrades={1: _omit_floor})
"""The plan in a search's event log (:mod:`dtsinn.search.plan`)."""
SEARCH_REPORT = Format(
    name="dtsinn-search-report", version=2, marked=False, upgrades={1: _name_outcomes}
)
"""``report.json`` of a search (:mod:`dtsinn.search.explain.page`)."""
IDENTITY_MAP = Format(name="dtsinn-identity-map")
"""The map of pseudonyms (:mod:`dtsinn.importers.pseudonym`)."""
EVALUATION = Format(
    name="dtsinn-evaluation",
    version=4,
    upgrades={1: dict, 2: _make_halving_a_baseline, 3: _add_population},
)
"""``evaluation.json`` (:mod:`dtsinn.evaluation.record`); 2 may lack intervals, and has ``n``; in 3
the floor is the linear map, which is fitted, halving is a baseline, and read-outs, conservation,
lesions and single-tracer scans are there; 4 says the population and what else is varied."""
GATE_REPORT = Format(name="dtsinn-gate-report", version=3, oldest=2, upgrades={2: dict})
"""What the gate said, as JSON (:mod:`dtsinn.registry.gate.report`); 3 likewise."""
KNOWN_STORE = Format(name="dtsinn-known-store")
"""Where a store lies, in the workspace that used it (:mod:`dtsinn.data.known_stores`)."""
