"""Text from elsewhere, as a terminal may show it."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text on one line, without what steers a terminal: escapes, controls, reversed reading.

    Args:
        text: Anything; what cannot be shown becomes U+FFFD, white space a single space.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
