"""What a training step of each shipped model costs, on one clock: processor time of one core.

    python tests/benchmarks/recipe_costs.py

The records in the checkpoints have wall seconds of machines with other work, some with two threads, so they do not compare.
Here the training of each recipe in course_lib/zoo/recipes is begun as `course train` begins it, on one thread. In each of
ROUNDS rounds all recipes take turns: WARM further steps of a training that are left out, then STEPS that are timed by
`time.process_time`. Other work of the machine makes processor seconds longer, too, since it shares caches and memory. So the
cost of a step is that of the fastest round; the table has the median, the slowest round and the standard error of the mean
beside it. The cost of a training is the record's steps times the cost of a step. Steps are alike over a training, but for the
random sizes of words and pictures. What a recipe does once is not counted: loading data and teachers, the scale of latents at
the end, the figures.
"""

import itertools
import statistics
import time

from rows import Benchmark, Part, measure

from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES

WARM, STEPS, ROUNDS = 1, 4, 8


def milliseconds(**_) -> dict:
    """Processor milliseconds of a step of each recipe, in each round."""
    found: dict[str, list[float]] = {name: [] for name in RECIPES}
    start = lambda recipe: models._in(checkpoints.FOLDER, recipe.train)(recipe.build(0), seed=0)
    trainings = {name: start(recipe) for name, recipe in RECIPES.items()}
    for _, (name, training) in itertools.product(range(ROUNDS), trainings.items()):
        for _ in range(WARM):
            next(training)
        begun = time.process_time()
        for _ in range(STEPS):
            next(training)
        found[name].append(round(1000 * (time.process_time() - begun) / STEPS, 3))
    return found


def table(found: dict) -> str:
    """A row for each model: what a step and its training cost."""
    lines = ["| model | steps | ms a step, fastest round | median | slowest | standard error | minutes of one core |"]
    lines.append("|---|---|---|---|---|---|---|")
    total = 0.0
    for name, each in found["milliseconds"].items():
        steps = checkpoints.read(checkpoints.shipped(name))[1]["steps"]
        fastest, error = min(each), statistics.stdev(each) / len(each) ** 0.5
        minutes = steps * fastest / 60_000
        total += minutes
        spread = f"{statistics.median(each):.3g} | {max(each):.3g} | {error:.2g}"
        lines.append(f"| `{name}` | {steps:,} | {fastest:.3g} | {spread} | {minutes:.1f} |")
    return "\n".join([*lines, f"| {len(found['milliseconds'])} models | | | | | | {total:.0f} |"])


BENCH = Benchmark(
    "recipe_costs",
    [Part(once={"milliseconds": milliseconds})],
    seeds=(),
    header={"steps": STEPS, "rounds": ROUNDS},
    table=table,
    threads=1,
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
