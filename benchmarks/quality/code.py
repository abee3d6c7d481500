"""A digest of the code that decides a method's result: other code makes its jobs new ones."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

FOLLOWED = ("dtsinn.networks", "dtsinn.training")
"""Packages inside which imports are followed; not from one into the other, since the training
loop knows some networks by name and every network would then depend on them."""
PASSED_OVER = (
    "dtsinn.networks.build",
    "dtsinn.networks.method",
    "dtsinn.training.config",
    "dtsinn.training.package",
)
"""They name every network, or only carry settings: a job holds its own settings."""
ALWAYS = (
    "dtsinn.data.augmentation",
    "dtsinn.data.body",
    "dtsinn.data.loader",
    "dtsinn.data.order",
    "dtsinn.evaluation.metrics",
    "dtsinn.evaluation.score",
    "dtsinn.networks.normalisation",
    "benchmarks.quality.scores",
)
"""What every method uses."""


@functools.cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 over the source of ``modules``, of what they import, and of :data:`ALWAYS`."""
    found: dict[str, bytes] = {}
    pending = [*modules, *ALWAYS]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = _source(name)
        inside = tuple(package for package in FOLLOWED if name.startswith(package))
        pending += [
            other
            for other in _imports(found[name])
            if other.startswith(inside) and other not in PASSED_OVER
        ]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + found[name] + b"\0")
    return digest.hexdigest()[:16]


def _source(name: str) -> bytes:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return Path(spec.origin).read_bytes()


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            for alias in node.names:  # a module, or a name inside one
                whole = f"{node.module}.{alias.name}"
                if whole.startswith(FOLLOWED) and _is_module(whole):
                    yield whole
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, not a package
        return False
