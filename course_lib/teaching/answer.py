"""The answer to a guess: what a claim's output carries, so that the page sets the guess beside what was measured.

`answer.js` is its other half, and `widgets/guess.py` asks the question. Both find each other by the page's own storage.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from course_lib import validate

VERDICTS = ("yes", "no", "cannot be told apart")
VERDICT = "verdict"
"""The name under which a claim's verdict can be guessed, beside those of its figures."""
CLAIM = r"[a-z0-9]+(?:-[a-z0-9]+)*"
"""The pattern of a claim's id: lower-case words joined by hyphens."""
ID = re.compile(rf"(?P<claim>{CLAIM})\.(?P<figure>\w+(?:[ -]\w+)*)")
"""What a question is about: the id of a claim, a dot, and the name of one of its figures."""
SCRIPT = re.sub(
    r"^ */\*\*(?:(?!\*/).)*\*/\n|^ *//[^\n]*\n|^ +|^export |\n(?=\n)",
    "",
    Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    flags=re.MULTILINE | re.DOTALL,
)
"""The text of answer.js without its comments, since every claim carries it."""
ANSWER = """<course-answer data-claim="{claim}" data-figures="{figures}"></course-answer>
<script>
(() => {{
{script}define();
}})();
</script>"""


def answer(claim: str, figures: dict[str, str | tuple[str, float]], verdict: str) -> str:
    """HTML for the end of a claim's output: it shows nothing until the page holds a guess of one of these figures.

    `claim` is the claim's id. `figures` are, by their names, what is printed ("0.49 ± 0.01"), and for a number also its value
    in the unit of the question's slider: ("0.49 ± 0.01", 0.4873). `verdict` is one of VERDICTS.
    Raises TypeError or ValueError for what is none of these.
    """
    if not isinstance(claim, str) or not re.fullmatch(CLAIM, claim):
        raise ValueError(f"claim must be lower-case words joined by hyphens, got {claim!r}")
    validate.choice(VERDICT, verdict, VERDICTS)
    made: dict[str, dict[str, str | float]] = {}
    for name, figure in validate.instance("figures", figures, dict).items():
        if not isinstance(name, str) or not ID.fullmatch(f"{claim}.{name}") or name == VERDICT:
            raise ValueError(f"figures must have names of words and digits, and none named {VERDICT!r}, got {name!r}")
        printed, *number = figure if isinstance(figure, tuple) else (figure,)
        if not isinstance(printed, str) or not printed.strip() or len(number) > 1:
            raise ValueError(f"figures[{name!r}] must be a text, or a text and a number, got {figure!r}")
        made[name] = {"text": printed}
        if number:
            made[name]["value"] = float(validate.finite(f"figures[{name!r}]", number[0]))
    made[VERDICT] = {"text": verdict}
    return ANSWER.format(claim=claim, figures=html.escape(json.dumps(made)), script=SCRIPT)
