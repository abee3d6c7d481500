"""Kinds: the dictionary of one sort of part, with what other packages add to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from dtsinn.core.errors import InputError

T = TypeVar("T")
"""The contract: an abstract class."""


class Kinds(Mapping[str, type[T]], Generic[T]):
    """The classes of one contract by name: dtsinn's own, then those of other packages.

    Another package brings a class with an entry point of the dictionary's group. The entry point
    has the name of the kind, and its module is imported when that kind is asked for, not before. A
    name that dtsinn has itself stays dtsinn's.

    Args:
        what: What a kind is called in messages, such as ``sampler``.
        contract: The class that every kind inherits from.
        own: dtsinn's own kinds.
        group: The group of entry points, such as ``dtsinn.samplers``; none is looked for without.
    """

    def __init__(
        self, what: str, contract: type[T], own: Mapping[str, type[T]], group: str = ""
    ) -> None:
        self.what, self.contract, self.own, self.group = what, contract, own, group

    @cached_property
    def outside(self) -> dict[str, EntryPoint]:
        """The entry points of other packages, not loaded."""
        found = entry_points(group=self.group) if self.group else ()
        return {entry.name: entry for entry in found if entry.name not in self.own}

    def __getitem__(self, name: str) -> type[T]:
        """The class of a kind.

        Raises:
            KeyError: There is no such kind.
            InputError: Another package brings it, and its class cannot be loaded or used.
        """
        return self.own[name] if name in self.own else self._load(self.outside[name])

    def _load(self, entry: EntryPoint) -> type[T]:
        where = f"{self.what} {entry.name} of the package {entry.dist.name if entry.dist else '?'}"
        try:
            loaded: Any = entry.load()
        except Exception as error:  # whatever a module of somebody else's raises at its import
            got = f"{type(error).__name__}: {error}"
            raise InputError(f"{where} cannot be loaded", got=got) from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.contract)):
            wanted = f"a class that inherits {self.contract.__module__}.{self.contract.__name__}"
            raise InputError(where, got=repr(loaded), wanted=wanted)
        return loaded

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.outside

    def __len__(self) -> int:
        return len(self.own) + len(self.outside)

    def __contains__(self, name: object) -> bool:  # without loading anything
        return name in self.own or name in self.outside

    def find(self, name: str) -> type[T]:
        """The class of a kind that a user named.

        Raises:
            InputError: There is no such kind, or it cannot be loaded.
        """
        self.check(name)
        return self[name]

    def check(self, name: str) -> None:
        """Refuse a name that is no kind's; nothing is loaded.

        Raises:
            InputError: There is no such kind.
        """
        if name not in self:
            close = difflib.get_close_matches(name, self, n=1)
            raise InputError(
                f"no such {self.what}",
                got=repr(name),
                wanted=f"one of {', '.join(self)}",
                hint=close[0] if close else "",
            )

    def loadable(self) -> dict[str, type[T]]:
        """The kinds whose classes can be loaded; the others are told of where they are named."""
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except InputError:
                continue
        return found
