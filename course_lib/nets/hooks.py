"""Looking into a network while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from course_lib.nets.unet import Attention, Block


@contextmanager
def watching(net: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dict that holds, after each call of `net` inside the `with`, what every Block gave out, by the block's name, and how
    every Attention spread its looks, by its own: feature maps (B, C, H, W) and weights (B, heads, H * W, H * W).

        with watching(network.net) as seen:
            network(x_t, t)
        seen["encoder.8x8_block0"], seen["encoder.4x4_block0.attention"]
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, args: tuple, out: Tensor) -> None:
            seen[name] = (module.weights(*args) if isinstance(module, Attention) else out).detach()

        return hook

    handles = [m.register_forward_hook(keep(name)) for name, m in net.named_modules() if isinstance(m, (Block, Attention))]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
