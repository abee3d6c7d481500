"""Pages from templates: whatever is put into one stays text."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import jinja2
import pytest

from dtsinn.plots.page import Card, parts, render_page

HOSTILE = '</title></style><script>alert("x")</script>\'"&amp; {{ 7 * 7 }}'


class Read(HTMLParser):
    """What a browser makes of a page: its elements, and its texts and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.texts += [value or "" for _, value in attributes]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    ("part", "arguments", "times"),
    [
        ("header", [HOSTILE] * 3, 3),
        ("paragraphs", [[HOSTILE, ""], HOSTILE], 2),
        ("cards", [[Card(HOSTILE, HOSTILE, HOSTILE)]], 3),
        ("table", [[HOSTILE, "b"], [[HOSTILE]]], 2),
        ("figure", [b"png", HOSTILE], 2),
        ("definitions", [[(HOSTILE, HOSTILE)], HOSTILE], 3),
    ],
)
def test_every_part_escapes_its_texts(part: str, arguments: list[object], times: int) -> None:
    content = getattr(parts(), part)(*arguments)
    page = Read(render_page("plots/page.html.j2", title=HOSTILE, body=content))
    assert "script" not in page.elements
    assert page.texts.count(HOSTILE) == times + 1


def test_a_text_as_body_is_escaped_too() -> None:
    page = Read(render_page("plots/page.html.j2", title="a", body=HOSTILE))
    assert "script" not in page.elements


def test_a_short_row_is_widened_and_groups_are_marked() -> None:
    table = parts().table(["a", "b", "c"], [["1", "2", "3"], ["4", "5"]], [True, False])
    assert '<td colspan="2">5</td>' in table
    assert table.count('<tr class="group">') == 1
    assert parts().table(["a"], []).strip() == ""


def test_a_section_without_content_is_left_out() -> None:
    assert "<h2>a</h2>" in parts().section("a", caller=lambda: "b")
    assert parts().section("a", caller=lambda: " \n").strip() == ""


def test_what_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render_page("plots/page.html.j2", body="")


def test_jinja_is_imported_with_the_first_page() -> None:
    code = "import dtsinn.plots.page, sys; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
