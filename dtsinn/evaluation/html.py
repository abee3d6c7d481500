"""Parts of the reports' pages, which need nothing else: style and pictures are inside the file.

They can be mailed and read without a network, follow the reader's light or dark preference, and
print. Texts are escaped here; what is markup already says so by its name.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from dtsinn.evaluation.report_style import CSS


def page(title: str, body: Iterable[str]) -> str:
    """A whole page that needs nothing else."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def header(eyebrow: str, title: str, lead: str) -> str:
    """What the page is about."""
    return (
        f'<header><p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p></header>\n'
    )


def section(title: str, *content: str) -> str:
    """A section under a title; nothing where there is no content."""
    inside = "".join(content)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>\n" if inside else ""


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Texts one below the other; ``kind`` is a class of the style sheet."""
    mark = f' class="{kind}"' if kind else ""
    return "".join(f"<p{mark}>{escape(text)}</p>" for text in texts if text)


class Card(NamedTuple):
    """A large number."""

    label: str
    value: str
    remark: str
    """What stands below it, in small."""
    unit: str = ""


def cards(entries: Iterable[Card]) -> str:
    """Large numbers side by side; nothing where there are none."""
    inside = "".join(
        f'<div class="card"><p class="label">{escape(label)}</p>'
        f'<p class="value">{escape(value)}{f"<span> {escape(unit)}</span>" if unit else ""}</p>'
        f'<p class="range">{escape(remark)}</p></div>'
        for label, value, remark, unit in entries
    )
    return f'<div class="cards">{inside}</div>' if inside else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts; nothing without rows."""
    return markup_table(head, (([escape(cell) for cell in row], True) for row in rows))


def markup_table(head: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """A table of cells that are HTML; nothing without rows.

    A row that begins a group is marked, the last cell of one that is too short is widened.
    """
    lines = []
    for cells, begins in rows:
        tags = [f"<td>{cell}</td>" for cell in cells]
        if len(cells) < len(head):
            tags[-1] = f'<td colspan="{len(head) - len(cells) + 1}">{cells[-1]}</td>'
        start = '<tr class="group">' if begins else "<tr>"
        lines.append(f"{start}{''.join(tags)}</tr>")
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="wide">{body}</div>' if lines else ""


def figure(png: bytes, caption: str) -> str:
    """A picture inside the page."""
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def definitions(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Words and their meanings; ``kind`` is a class of the style sheet."""
    mark = f' class="{kind}"' if kind else ""
    inside = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in entries)
    return f"<dl{mark}>{inside}</dl>"
