"""Looking into a network while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib.denoisers import Network
from course_lib.nets.attention import CrossAttention
from course_lib.nets.unet import Attention, Block
from course_lib.process import Time


@contextmanager
def watching(net: nn.Module, kinds: tuple[type[nn.Module], ...] = (Block, Attention)) -> Iterator[dict[str, Tensor]]:
    """A dict that holds, after each call of `net` inside the `with`, what every Block gave out, by the block's name, and how
    every Attention spread its looks, by its own: feature maps (B, C, H, W) and weights (B, heads, H * W, H * W).

        with watching(network.net) as seen:
            network(x_t, t)
        seen["encoder.8x8_block0"], seen["encoder.4x4_block0.attention"]

    `kinds` chooses: with (CrossAttention,) it holds how each place looks at the words, weights (B, heads, H * W, L); with an
    MM-DiT's (JointBlock,) how each place and each word looks at all of them.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, args: tuple, out: Tensor) -> None:
            seen[name] = (module.weights(*args) if hasattr(module, "weights") else out).detach()

        return hook

    handles = [m.register_forward_hook(keep(name)) for name, m in net.named_modules() if isinstance(m, kinds)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def looks_at_words(network: Network, x_t: Tensor, t: Time, side: int = 16) -> Tensor:
    """How much each place of x_t (B, C, H, W) takes from each word of its caption at time t: (B, L, side, side).

    The mean over all heads of all cross-attention on maps of that side. Over L they sum to 1, the start token's share among
    them. Raises ValueError where there is none of that side.
    """
    with watching(network.net, (CrossAttention,)) as seen:
        network(x_t, t)
    weights = [looks.mean(1) for looks in seen.values() if looks.shape[2] == side**2]  # (B, H * W, L) each
    if not weights:
        raise ValueError(f"side must be that of maps with cross-attention, got {side}")
    return torch.stack(weights).mean(0).transpose(1, 2).unflatten(2, (side, side))
