"""Markdown as plain text, for cards, descriptions and the search."""

from __future__ import annotations

import re
from html import unescape


def plain(text: str) -> str:
    """Markdown as one line of text: no marks, Greek letters for LaTeX's names of them; names of code keep their underscores."""
    text = re.sub(r"```.*?```|!?\[([^\]]*)\]\([^)]*\)|</?[a-z][^>]*>|<!--.*?-->", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: _letter(found[1]), text)
    return " ".join(re.sub(r"[*`$\\{}]", "", re.sub(r"[#|]", " ", text)).split())


def _letter(name: str) -> str:
    letter = unescape(f"&{name};")
    return letter if len(letter) == 1 else " "
