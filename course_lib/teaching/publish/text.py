"""Markdown as plain text, for cards, descriptions and the search, and a part of it."""

from __future__ import annotations

import re
from html import unescape

DIFFICULTY = re.compile(r"\s*\(difficulty[^()]*\)\Z")
"""What stands at the end of an exercise's heading."""


def plain(text: str) -> str:
    """Markdown as one line of text: no marks, Greek letters for LaTeX's names of them; names of code keep their underscores."""
    text = re.sub(r"```.*?```|!?\[([^\]]*)\]\([^)]*\)|</?[a-z][^>]*>|<!--.*?-->", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: _letter(found[1]), text)
    return " ".join(re.sub(r"[*`$\\{}]", "", re.sub(r"[#|]", " ", text)).split())


def below(text: str, heading: str) -> str:
    """The Markdown below a heading of the second level, up to the next one; empty where there is no such heading."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _letter(name: str) -> str:
    letter = unescape(f"&{name};")
    return letter if len(letter) == 1 else " "
