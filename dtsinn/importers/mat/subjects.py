"""Which files of a MATLAB import make a subject: decided by their names, sorted by slice.

Names of files and subjects may name people: messages count them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtsinn.core.errors import InputError
from dtsinn.importers.mat.plan import MatPlan
from dtsinn.importers.source import SourceSubject


@dataclass(frozen=True, kw_only=True, repr=False)
class Member:
    """A subject and the stems of its slices, from the lowest."""

    subject: SourceSubject
    stems: tuple[str, ...]


def place(kind: str, number: int, count: int) -> str:
    """How messages name a file: by its folder, and its number from 1 in natural order."""
    return f"{kind}, file {number} of {count} (natural order)"


def natural_order(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which ``sample2`` comes before ``sample10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    key = [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]
    return key, text


def subjects_of(plan: MatPlan, stems: Sequence[str]) -> list[Member]:
    """Sort the files of a folder by subject and slice.

    Args:
        plan: Says which is which.
        stems: In natural order.

    Raises:
        InputError: A file belongs to no subject or to two, two files are one slice, or the
            plan names what is not there.
    """
    if isinstance(plan.subjects, re.Pattern):
        slices = _by_expression(plan.subjects, stems)
    else:
        slices = _by_list(plan.subjects, stems)
    for number, identity in enumerate(plan.splits):
        if identity not in slices:
            raise InputError(
                f"the plan: splits, entry {number}, is of no subject", got=f"{len(slices)} others"
            )
    return [
        Member(
            subject=SourceSubject(
                identity=identity,
                split=plan.splits.get(identity),
                slice_position=tuple(plan.thickness * z for z in sorted(by_number)),
                where=f"subjects.{number}",
                accepted=plan.accepted,
            ),
            stems=tuple(by_number[z] for z in sorted(by_number)),
        )
        for number, (identity, by_number) in enumerate(slices.items())
    ]


def _by_expression(pattern: re.Pattern[str], stems: Sequence[str]) -> dict[str, dict[int, str]]:
    slices: dict[str, dict[int, str]] = {}
    for number, stem in enumerate(stems, 1):
        where = place("mixture", number, len(stems))
        match = pattern.fullmatch(stem)
        if match is None or not (match["subject"] or "").strip() or match["slice"] is None:
            raise InputError(
                f"{where}: its name does not match subjects in the plan",
                wanted="a match of all of the name without .mat",
            )
        if not re.fullmatch(r"[0-9]+", match["slice"]):
            raise InputError(f"{where}: the group slice is no number", wanted="digits")
        by_number = slices.setdefault(match["subject"], {})
        if int(match["slice"]) in by_number:
            raise InputError(
                f"{where}: its subject has another file for slice {int(match['slice'])}"
            )
        by_number[int(match["slice"])] = stem
    return slices


def _by_list(
    subjects: Mapping[str, Sequence[str]], stems: Sequence[str]
) -> dict[str, dict[int, str]]:
    slices: dict[str, dict[int, str]] = {}
    taken: dict[str, int] = {}
    for number, (identity, patterns) in enumerate(subjects.items()):
        by_number = slices.setdefault(identity, {})
        for entry, pattern in enumerate(patterns):
            where = f"the plan: subjects, entry {number}, name {entry}"
            found = [pattern] if pattern in stems else fnmatch.filter(stems, pattern)
            if not found:
                raise InputError(
                    f"{where}: no file of the mixture has it", wanted="stem or pattern"
                )
            for stem in found:
                if stem in taken:
                    raise InputError(
                        f"{where}: its file is taken already",
                        got=f"entry {taken[stem]}",
                        wanted="each file in one place",
                    )
                taken[stem] = number
                by_number[len(by_number)] = stem
    left = [number for number, stem in enumerate(stems, 1) if stem not in taken]
    if left:
        raise InputError(
            f"the plan: subjects leave out {len(left)} files of the mixture",
            got=f"first {place('mixture', left[0], len(stems))}",
            wanted="each file in one place",
        )
    return slices
