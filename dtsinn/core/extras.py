"""Extras: what ``pip install dtsinn`` leaves out, and how to get it."""

from __future__ import annotations

import re

OTHER_NAMES = {"sklearn": "scikit-learn"}
"""Modules whose packages have other names."""


def find_extra(module: str) -> str:
    """The extra that brings a module, such as ``platform`` for torch; empty where none does.

    Args:
        module: Its name as it is imported, without dots.
    """
    from importlib import metadata  # slow to import, and only an error asks

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = canonicalize_name(OTHER_NAMES.get(module, module))
    try:
        required = [Requirement(text) for text in metadata.requires("dtsinn") or ()]
    except metadata.PackageNotFoundError:
        return ""
    for one in required:
        extra = re.search(r"extra == ['\"](\w+)['\"]", str(one.marker or ""))
        if extra and extra[1] != "dev" and canonicalize_name(one.name) == wanted:
            return extra[1]
    return ""


def install_command(extra: str) -> str:
    """What to type for an extra."""
    return f"pip install 'dtsinn[{extra}]'"


def cure_of_missing(error: BaseException) -> str:
    """What to type where a module of an extra is missing; empty where it is another error."""
    missing = isinstance(error, ModuleNotFoundError) and error.name
    extra = find_extra(missing) if missing else ""
    return install_command(extra) if extra else ""
