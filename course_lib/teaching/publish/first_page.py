"""What stands at the top of the site's index: lesson 18's student, which goes from noise to digits once, and three doors."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from course_lib.widgets.student import student
from course_lib.zoo import models

HERE = Path(__file__).parent / "page"
SCRIPT = "first_page.js"
"""The name of the script beside the index: its network is larger than all else there, and is loaded after the rest is shown."""


def first_page(first_lesson: str) -> tuple[Markup, str]:
    """The HTML of the index's top, which shows a still picture until the script runs, and the text of SCRIPT.

    `first_lesson` is the address of the lesson that the door "Read" opens.
    """
    still, _, script = student(models.load("guided"), w=3.0).html.partition("<script>")
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = environment.get_template("first_page.html.j2").render(student=Markup(still), script=SCRIPT, lesson=first_lesson)
    return Markup(html), script.replace("</script>", "") + (HERE / SCRIPT).read_text(encoding="utf-8")
