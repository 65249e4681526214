"""From LaTeX to inline SVG, in the colour and the size of the text around it, which needs no script and no font."""

from __future__ import annotations

import html
import re

import ziamath
from nbconvert.filters.markdown_mistune import IPythonRenderer
from ziamath.tex import tex2mml

SIZE = 16  # pixels to an em while drawing; the page gets ems
REPLACEMENTS = {r"\epsilon": "𝜖", r"\phi": "𝜙", r"\sim": r"\,∼\,"}  # these would be upright, or too tight
UNKNOWN = re.compile(r"(?<=>)\s*\\[A-Za-z|]*|\\mathop")  # a command left over in MathML, and one whose argument is lost
IN_HTML = re.compile(r"(?<!\\)\$\$(?P<display>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$]+?)(?<!\\)\$", re.DOTALL)

ziamath.config.svg2 = False  # plain paths: no ids that two equations on a page could share
ziamath.config.precision = 2
for symbol in ziamath.operators.operators.values():
    if symbol.get("largeop"):  # as in TeX: sums and integrals have two sizes; a stretched one would blow up \left[ \right]
        symbol["stretchy"] = "false"


def svg(latex: str, display: bool) -> str:
    """The equation as an SVG element that sits on the baseline. Raises ValueError for an unknown command or a syntax error."""
    source = re.sub(r"\\[A-Za-z]+", lambda m: REPLACEMENTS.get(m[0], m[0]), latex)
    source = re.sub(r"(\\math[a-z]+)\s+([A-Za-z])", r"\1{\2}", source)  # \mathbb E, whose style would be lost
    try:
        if unknown := UNKNOWN.search(source + tex2mml(source)):
            raise ValueError(f"unknown command {unknown[0]}")
        element = ziamath.Latex(source, size=SIZE, inline=not display, color="currentColor").svgxml()
    except Exception as error:  # the parser raises many classes of exception
        raise ValueError(f"equation must be LaTeX that can be drawn, got {latex!r}: {error}") from None
    for box in element.iterfind(".//{*}rect[@stroke]"):
        box.attrib["fill"] = "none"  # of \boxed, which is black with an operator's name inside
    x, y, width, height = map(float, element.attrib["viewBox"].split())
    element.attrib |= {
        "class": "equation",
        "role": "img",
        "aria-label": latex.strip(),
        "width": f"{width / SIZE:.3f}em",
        "height": f"{height / SIZE:.3f}em",
        "style": f"vertical-align:{-(y + height) / SIZE:.3f}em",
    }
    return ziamath.zmath.ET.tostring(element, encoding="unicode")


def equation(latex: str, display: bool = False) -> str:
    """The equation as HTML: an SVG, or, where that fails, its LaTeX in a `code` element of class latex-source."""
    try:
        drawn = svg(latex, display)
    except ValueError:
        drawn = f'<code class="latex-source">{html.escape(latex.strip())}</code>'
    return f'<span class="display-equation">{drawn}</span>' if display else drawn


class Renderer(IPythonRenderer):
    """Markdown with its equations as SVG, and the alternative text in place of pictures on other servers."""

    def block_math(self, body: str) -> str:
        return equation(body, display=True)

    def inline_math(self, body: str) -> str:
        return equation(body)

    def latex_environment(self, name: str, body: str) -> str:
        return equation(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    def block_html(self, text: str) -> str:
        return super().block_html(equations_in(text))

    def inline_html(self, text: str) -> str:
        return super().inline_html(equations_in(text))

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text if re.match(r"(https?:)?//", url) else super().image(text, url, title)


def equations_in(text: str) -> str:
    """The HTML with the equations between dollar signs as SVG."""
    return IN_HTML.sub(lambda m: equation(html.unescape(m["display"] or m["inline"]), display=bool(m["display"])), text)
