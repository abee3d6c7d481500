"""Parts of the report's page; every text that comes from outside is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

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


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: label, value, and a remark below."""
    inside = "".join(
        f'<div class="card"><p class="label">{escape(label)}</p>'
        f'<p class="value">{escape(value)}</p><p class="range">{escape(remark)}</p></div>'
        for label, value, remark in entries
    )
    return f'<div class="cards">{inside}</div>' if inside else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts; nothing without rows."""
    lines = "".join(
        f'<tr class="group">{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>'
        for row in rows
    )
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide">{body}</div>' if lines else ""


def figure(png: bytes, caption: str) -> str:
    """A picture inside the page."""
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """Words and their meanings."""
    inside = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in entries)
    return f"<dl>{inside}</dl>"
