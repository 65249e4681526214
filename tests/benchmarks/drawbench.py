"""DrawBench in miniature: every text-to-image system on the same 200 captions, scored by the shipped detector.

    python tests/benchmarks/drawbench.py [--only system=Imagen --again] [--store]

Each system generates a picture for each caption, once per seed. The file has for each system and seed the share of right
pictures in each category, and for each two systems the shares of captions for which one or the other shows more of the caption.
It also has the detected scenes, so that a new system can be compared with all of them.
"""

from dataclasses import fields
from itertools import combinations

import torch
from rows import Benchmark, Part, measure
from scores import detector

from course_lib.datasets.scenes import Scene
from course_lib.zoo import drawbench
from course_lib.zoo.systems import SYSTEMS

SEEDS = (0, 1, 2)


def row(system: str) -> list[dict]:
    """The scenes detected in a system's pictures, 200 per seed, as lists."""
    film, found = SYSTEMS[system](), []
    for seed in SEEDS:
        *_, pictures = film(drawbench.captions(), seed)
        scene = detector().detect(pictures)
        found.append({field.name: getattr(scene, field.name).tolist() for field in fields(scene)})
    return found


def summary(found: dict) -> dict:
    """The scores of each system by seed, and the preferences between each two, over all seeds."""
    readings = {name: found["readings"][name] for name in SYSTEMS if name in found["readings"]}  # in the order of the lessons
    seen = {name: [Scene(**{k: torch.tensor(v) for k, v in one.items()}) for one in each] for name, each in readings.items()}
    preferred = {}
    for a, b in combinations(seen, 2):
        shares = torch.tensor([drawbench.preferred(x, y) for x, y in zip(seen[a], seen[b])]).mean(0).tolist()
        preferred[f"{a} | {b}"] = [round(share, 4) for share in shares]
    scores = {name: [drawbench.score(one) for one in each] for name, each in seen.items()}
    return {"scores": scores, "preferred": preferred, "readings": readings}


def table(found: dict) -> str:
    """Markdown: a row for each system, the mean share of right pictures over the seeds in each category."""
    categories = list(next(iter(found["scores"].values()))[0])
    lines = [f"| system | {' | '.join(categories)} |", "|---|" + "---|" * len(categories)]
    for name, scores in found["scores"].items():
        means = [sum(score[category] for score in scores) / len(scores) for category in categories]
        lines.append(f"| {name} | {' | '.join(f'{100 * mean:.0f} %' for mean in means)} |")
    return "\n".join(lines)


PART = Part(jobs=lambda seeds: [{"system": name} for name in SYSTEMS], row=row, into="readings", by="system")
BENCH = Benchmark("drawbench", [PART], seeds=(), header={"seeds": SEEDS}, summary=summary, table=table, threads=1, indent=None)

if __name__ == "__main__":
    measure(__doc__, BENCH)
