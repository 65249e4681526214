"""The site's page of the minute: its rules, the stored entries as a table, and as a plot of distance over evaluations."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator, ScalarFormatter

from course_lib import plots
from course_lib.files import ROOT
from course_lib.teaching.minute import EVALUATIONS
from course_lib.teaching.minute.command import table
from course_lib.zoo import figures

RULES = ROOT / "tests/benchmarks/MINUTE.md"


def page() -> str:
    """The page in Markdown. An installed package has no rules, since it has no benchmarks: it has the results alone."""
    rows = figures.raw("minute")["runs"]
    rules = RULES.read_text(encoding="utf-8") if RULES.is_file() else "# The minute\n"
    rules = rules.replace("[entries/](entries)", "`tests/benchmarks/entries`")
    return f"{rules}\n## Five entries\n\n{_picture(rows)}\n\n{table(rows)}\n\nMean and standard error of three trainings.\n"


def _picture(rows: list[dict]) -> str:
    plots.style()
    fig, ax = plt.subplots(figsize=(9, 5))
    for name, marker, colour in zip(sorted({row["entry"] for row in rows}), plots.MARKERS, plots.COLOURS):
        found = {k: [r["distance"] for r in rows if (r["entry"], r["evaluations"]) == (name, k)] for k in EVALUATIONS}
        found = {k: values for k, values in found.items() if values}
        mean = [np.mean(values) for values in found.values()]
        error = [np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0 for values in found.values()]
        ax.errorbar(list(found), mean, error, marker=marker, color=colour, label=name, capsize=4)
    ax.set(title="A minute of training: distance to real digits", xlabel="evaluations a picture", ylabel="Frechet distance")
    ax.set(xscale="log", yscale="log", xticks=EVALUATIONS)
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    alt = "The Frechet distance of each entry of the table below over its evaluations a picture, both on logarithmic axes."
    return plots.show(fig, alt=alt)._repr_mimebundle_()[0]["text/html"]
