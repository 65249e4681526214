"""DrawBench in miniature: every system that draws captions, on the same 200, scored exactly by the reader that ships.

    python tests/benchmarks/drawbench.py [--seeds 0 1 2] [--only "Imagen, base"]

Each system draws each caption once a seed. Of each the file has, by seed, the share that is right in each category; and of each
two, in which share of all captions one or the other shows more of what was asked. Systems whose models are not there are left
out. Systems that are in data/figures/drawbench.json already are not drawn again, unless they are named: their readings are kept
there, so that a new system can be compared with all of them.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import fields
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from course_lib import drawbench, models
from course_lib.datasets.scenes import Scene
from course_lib.recipes import imagen, latents, sdxl, shapes
from course_lib.unclip import UnCLIP

OUT = Path(__file__).parents[2] / "data/figures/drawbench.json"


def text2shape() -> Callable[[list[str], int], Tensor]:
    network = models.load("text2shape")
    return lambda said, seed: shapes.drawn(network, said, 3.0, seed=seed)


def unclip() -> Callable[[list[str], int], Tensor]:
    method = UnCLIP(*(models.load(name) for name in ("clip", "prior", "decoder")))

    def draw(said: list[str], seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return torch.cat([method.drawn(method.imagined(part, rng=rng), rng=rng) for part in (said[:100], said[100:])])

    return draw


def latent2shape() -> Callable[[list[str], int], Tensor]:
    network, through = models.load("latent2shape"), latents.shipped_autoencoder()
    return lambda said, seed: through.decode(latents.latents_drawn(network, said, 3.0, seed=seed))


def sdxl_base() -> Callable[[list[str], int], Tensor]:
    network = models.load("sdxl")
    return lambda said, seed: sdxl.sdxl_drawn(network, said, 3.0, seed=seed)  # asked for as large and whole


def imagen_base() -> Callable[[list[str], int], Tensor]:
    base = models.load("imagen")
    large = lambda x: interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return lambda said, seed: large(imagen.small_drawn(base, said, 2.0, seed=seed))


SYSTEMS = {
    "text2shape": text2shape,
    "unCLIP": unclip,
    "latent2shape": latent2shape,
    "Imagen, base": imagen_base,
    "SDXL": sdxl_base,
}
"""Of each system by its name, a function that loads it and gives draw(captions, seed), pictures (N, 3, 32, 32)."""


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
    reader = shapes.shipped_reader()
    for name in args.only or [name for name in SYSTEMS if name not in readings]:
        try:
            draw = SYSTEMS[name]()
        except (FileNotFoundError, ValueError) as error:
            print(f"{name} is left out: {error}")
            continue
        readings[name] = [kept(reader.read(draw(drawbench.CAPTIONS, seed))) for seed in args.seeds]
        found = {"command": "python tests/benchmarks/drawbench.py", "seeds": args.seeds, **summary(readings)}
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(found | {"readings": readings}) + "\n")
        os.replace(partial, args.out)
    for name, scores in summary(readings)["scores"].items():
        means = {category: sum(s[category] for s in scores) / len(scores) for category in scores[0]}
        print(f"{name:20}" + "".join(f"{category} {100 * mean:5.1f} %   " for category, mean in means.items()))


if __name__ == "__main__":
    main()
