"""Pages from templates: one base with the style of all, and the parts that they are made of.

A template extends ``plots/page.html.j2`` and lies beside the module that fills it in. Everything
that is put into one is escaped. Jinja is imported when the first page is written.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jinja2 import Environment


class Card(NamedTuple):
    """A large number of a page."""

    label: str
    value: str
    remark: str
    """What stands below it, in small."""
    unit: str = ""


def render_page(template: str, **content: Any) -> str:
    """A page as HTML text.

    Args:
        template: Its path in the package, such as ``search/explain/report.html.j2``.
        content: What the template asks for; a name that is missing is an error.
    """
    return _environment().get_template(template).render(content)


def parts() -> Any:
    """The parts of pages, functions that return HTML (macros of ``plots/parts.html.j2``)."""
    return _environment().get_template("plots/parts.html.j2").module


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dtsinn", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment
