"""Choices: options whose values are the names of a dictionary, read where help is shown."""

from __future__ import annotations

import importlib
import re
from typing import Any

from typer.core import TyperCommand

DICTIONARY = re.compile(r"(dtsinn[.\w]*):(\w+)")
"""A metavar that says where the dictionary is: commands are declared without importing it."""


class WithChoices(TyperCommand):
    """A command whose help shows the names of a dictionary for a metavar ``module:NAME``."""

    def format_help(self, *args: Any, **options: Any) -> None:
        """Look the names up, then write the help."""
        for parameter in self.params:
            place = DICTIONARY.fullmatch(str(parameter.metavar))
            if place:
                names = getattr(importlib.import_module(place[1]), place[2])
                parameter.metavar = f"[{'|'.join(names)}]"
        super().format_help(*args, **options)
