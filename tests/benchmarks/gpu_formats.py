"""Number formats and batches on a device: float32 beside bfloat16, and the share of the device's peak. A part of gpu.py.

bfloat16 is used in two ways: by autocast, where the weights stay in float32, and, for sampling alone, with the weights
themselves in bfloat16. The peak is that of a product of two large matrices of the same format. Operations are counted by
torch's FlopCounterMode for one picture, on the CPU, and are proportional to the batch.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from peak import NETWORKS, conditions, milliseconds, operations, peak, step_of
from torch import Tensor

from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import models

PRODUCT = "product of two large matrices"
TYPES = {"float32": torch.float32, "autocast": torch.bfloat16, "weights": torch.bfloat16}
SHOWN = {"autocast": "bfloat16 by autocast", "weights": "bfloat16 weights", "TF32": "float32 as TF32"}


def attempt(run: Callable[[], dict]) -> dict:
    """What `run` measured, or its error in one line: a device may lack a format or a compiler, or the memory for a batch."""
    try:
        return run()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:80]}"}


def in_format(name: str, device: torch.device):
    """The context in which a network computes in that format; weights in bfloat16 need none."""
    return torch.autocast(device.type, torch.bfloat16) if name == "autocast" else nullcontext()


def speed(ms: float, n: int, counted: int, peaks: dict[torch.dtype, float], dtype: torch.dtype) -> dict:
    """Milliseconds, n pictures per second, and the share of the peak, in %, of n times the `counted` operations of one."""
    share = {"share": float(f"{100 * n * counted / ms / peaks[dtype]:.3g}")} if dtype in peaks else {}
    return {"ms": float(f"{ms:.3g}"), "rate": round(1000 * n / ms)} | share


def measured(device: torch.device, small: bool) -> Iterator[dict]:
    """A row for the peak of each format, then for a sampling and a training step in each format and of each batch."""
    repeats, limit, batches = (1, 1.0, (1, 4)) if small else (20, 2.0, (1, 64, 1024))
    steps, peaks = 3 if small else 25, {}
    timed = lambda run: milliseconds(run, device, repeats, limit)
    for name in ("float32", *["TF32"] * (device.type == "cuda"), "autocast"):
        kept = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if name == "TF32" else kept)
        dtype = TYPES.get(name, torch.float32)
        found = attempt(lambda dtype=dtype: {"speed": peak(device, dtype, repeats)})
        torch.set_float32_matmul_precision(kept)
        if "speed" in found:
            if name != "TF32":
                peaks[dtype] = found["speed"]
            found = {"TFLOP/s": float(f"{found['speed'] / 1e9:.3g}")}
        yield {"what": PRODUCT, "format": "bfloat16" if name == "autocast" else name} | found

    one = operations(drawn(models.load("digits", device="cpu"), 1, steps))
    for n in batches:
        exact = None
        for name, dtype in TYPES.items():
            found: list[Tensor] = []

            def draws(n=n, name=name, dtype=dtype, found=found) -> dict:
                network = models.load("digits", device=device)
                network.net.to(dtype if name == "weights" else torch.float32)
                draw = drawn(network, n, steps)
                with in_format(name, device):
                    found.append(draw().cpu())
                    return speed(timed(draw), n, one, peaks, dtype)

            row = {"what": f"guided digits in {steps} steps", "format": name, "batch": n} | attempt(draws)
            if name == "float32" and found:
                exact = found[0]
            elif exact is not None and found:
                row |= apart(found[0], exact)
            yield row

    for what, build in NETWORKS.items():
        ready = lambda n, place, build=build: pictures(build(), n, place)
        counted = operations(step_of(*given(what, ready(1, torch.device("cpu"))), torch.float32))
        for n in batches:
            for name in ("float32", "autocast"):

                def trains(n=n, name=name, what=what, ready=ready, counted=counted) -> dict:
                    step = step_of(*given(what, ready(n, device)), TYPES[name])
                    return speed(timed(step), n, counted, peaks, TYPES[name])

                yield {"what": f"training step, {what}", "format": name, "batch": n} | attempt(trains)


def drawn(network: Network, n: int, steps: int) -> Callable[[], Tensor]:
    """A function that draws n guided digits, always from the same noise."""
    guided, noise = classifier_free(network, torch.arange(n) % 10, 2.0), network.draw_noise(n, seeded(0))
    return lambda: sample(guided, noise, steps, batch=n)


def pictures(network: Network, n: int, device: torch.device) -> tuple[Network, Tensor]:
    """The network on the device, and n pictures of noise for it."""
    network.net.to(device)
    return network, torch.randn(n, *network.net.shape, generator=seeded(0)).to(device)


def given(what: str, ready: tuple[Network, Tensor]) -> tuple[Network, Tensor, Tensor]:
    network, x = ready
    return network, conditions(what, len(x)), x


def apart(x: Tensor, exact: Tensor) -> dict:
    """The largest and the root mean square difference of pictures, whose values lie in about [-1, 1]."""
    off = (x.float() - exact.float()).double()
    return {"largest": float(f"{off.abs().max():.2g}"), "rms": float(f"{off.square().mean().sqrt():.2g}")}


def table(rows: list[dict]) -> list[str]:
    """Lines in Markdown: the peaks, then the samplings and training steps."""
    peaks = [f"{SHOWN.get(r['format'], r['format'])} {r.get('TFLOP/s', r.get('error'))}" for r in rows if r["what"] == PRODUCT]
    lines = [f"A {PRODUCT}, TFLOP/s: {', '.join(peaks) or 'not reached'}.", ""]
    lines.append("| what | format | batch | ms | pictures per second | of the peak | largest difference | root mean square |")
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if row["what"] == PRODUCT:
            continue
        cells = [row["what"], SHOWN.get(row["format"], row["format"]), row["batch"]]
        if "error" in row:
            cells += [row["error"], *[""] * 4]
        else:
            share = f"{row['share']:g} %" if "share" in row else ""
            cells += [f"{row['ms']:g}", f"{row['rate']:,}", share, row.get("largest", ""), row.get("rms", "")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines
