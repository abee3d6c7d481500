"""Ids of runs and logged models: each MLflow gives its own, so texts that hold them are translated.

The *origin* of a run or model is the id that it had where it was first. Copies carry it in a tag,
copies of copies too, so that any two registries know what is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dtsinn.registry.versions import CREATED

COPIED = "dtsinn.copied"
"""Tag of a copy: the origin. Of a version: what :func:`dtsinn.registry.copying.versions` says."""
MOST = 10_000
"""Versions of a model, at most: of a tag that says more, which would be as many calls, nothing is
believed (uncited)."""
MLFLOWS_OWN = "mlflow.modelVersions"
"""Tag that MLflow's server, and only the server, keeps on logged models."""

_ID = re.compile(r"(?<![0-9A-Za-z])(?:m-)?[0-9a-f]{32}(?![0-9A-Za-z])")


class Ids:
    """The ids of one MLflow, and the origins behind them."""

    def __init__(self) -> None:
        self._origins: dict[str, str] = {}
        self._own: dict[str, str] = {}

    def add(self, own: str, origin: str) -> None:
        """Know one more."""
        self._origins[own] = origin
        self._own[origin] = own

    def origin(self, own: str) -> str:
        """The origin behind an id; an unknown one is its own."""
        return self._origins.get(own, own)

    def neutralise(self, text: str) -> str:
        """A text with origins in place of the ids of this MLflow."""
        return _ID.sub(lambda match: self.origin(match[0]), text)

    def localise(self, text: str) -> str:
        """A neutral text with the ids of this MLflow."""
        return _ID.sub(lambda match: self._own.get(match[0], match[0]), text)


def translate_tags(tags: Mapping[str, str], source: Ids, there: Ids) -> dict[str, str]:
    """Tags in the words of another place, without those of the copying itself."""
    return {k: there.localise(source.neutralise(v)) for k, v in tags.items() if not is_mark(k)}


def make_neutral(tags: Mapping[str, str], ids: Ids, only: Mapping[str, str]) -> dict[str, str]:
    """Tags in words of no place, to be compared: those that are also in ``only``."""
    return {k: ids.neutralise(v) for k, v in tags.items() if k in only and not is_mark(k)}


def is_mark(tag: str) -> bool:
    """Whether a tag is of the copying itself, or of MLflow's server: none is sent or compared."""
    return tag in {COPIED, CREATED, MLFLOWS_OWN}
