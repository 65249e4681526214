"""DrawBench in miniature: every system that draws captions, on the same 200, scored exactly by the reader that ships.

    python tests/benchmarks/drawbench.py [--seeds 0 1 2] [--only Imagen]

Each system draws each caption once a seed. Of each the file has, by seed, the share that is right in each category; and of each
two, in which share of all captions one or the other shows more of what was asked. Systems whose models are not there are left
out. Systems that are in data/figures/drawbench.json already are not drawn again, unless they are named: their readings are kept
there, so that a new system can be compared with all of them.
"""

import argparse
import json
import os
from dataclasses import fields
from itertools import combinations
from pathlib import Path

import torch

from course_lib import drawbench
from course_lib.datasets.scenes import Scene
from course_lib.recipes.shapes import shipped_reader
from course_lib.systems import SYSTEMS

OUT = Path(__file__).parents[2] / "data/figures/drawbench.json"


def kept(scene: Scene) -> dict[str, list]:
    """A reading as lists, for the file."""
    return {field.name: getattr(scene, field.name).tolist() for field in fields(scene)}


def summary(readings: dict[str, list[dict]]) -> dict:
    """The table: scores of each system by seed, and preferences of each two, over all seeds."""
    seen = {name: [Scene(**{k: torch.tensor(v) for k, v in one.items()}) for one in each] for name, each in readings.items()}
    preferred = {}
    for a, b in combinations(seen, 2):
        shares = torch.tensor([drawbench.preferred(x, y) for x, y in zip(seen[a], seen[b])]).mean(0).tolist()
        preferred[f"{a} | {b}"] = [round(share, 4) for share in shares]
    scores = {name: [drawbench.score(one) for one in each] for name, each in seen.items()}
    return {"scores": scores, "preferred": preferred}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), help="draw these anew, and no others")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    readings = json.loads(args.out.read_text())["readings"] if args.out.is_file() else {}
    reader = shipped_reader()
    for name in args.only or [name for name in SYSTEMS if name not in readings]:
        try:
            film = SYSTEMS[name]()
        except (FileNotFoundError, ValueError) as error:
            print(f"{name} is left out: {error}")
            continue
        readings[name] = []
        for seed in args.seeds:
            *_, pictures = film(drawbench.CAPTIONS, seed)
            readings[name].append(kept(reader.read(pictures)))
        readings = {each: readings[each] for each in SYSTEMS if each in readings}  # in the order of the lessons
        found = {"command": "python tests/benchmarks/drawbench.py", "seeds": args.seeds, **summary(readings)}
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(found | {"readings": readings}) + "\n")
        os.replace(partial, args.out)
    for name, scores in summary(readings)["scores"].items():
        means = {category: sum(s[category] for s in scores) / len(scores) for category in scores[0]}
        print(f"{name:20}" + "".join(f"{category} {100 * mean:5.1f} %   " for category, mean in means.items()))


if __name__ == "__main__":
    main()
