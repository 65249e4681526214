"""Forward hooks that record what is inside a network: activations and attention weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import Network
from course_lib.nets.attention import CrossAttention
from course_lib.nets.unet import Attention, Block
from course_lib.process import Time


@contextmanager
def record_activations(
    net: nn.Module, kinds: tuple[type[nn.Module], ...] = (Block, Attention), outputs: bool = False
) -> Iterator[dict[str, Tensor]]:
    """A context with a dict of activations, by module name, which each call of `net` inside it fills.

        with record_activations(network.net) as activations:
            network(x_t, t)
        activations["encoder.8x8_block0"], activations["encoder.4x4_block0.attention"]

    A module with a method `weights` is recorded by its attention weights: (B, heads, H * W, H * W) of Attention, (B, heads,
    H * W, L) of CrossAttention, (B, heads, P + L, P + L) of an MM-DiT's JointBlock. Others are recorded by their output, such
    as a Block's feature map (B, C, H, W); with `outputs` all are. `kinds` are the classes that are recorded.
    """
    for kind in validate.filled("kinds", kinds, type):
        if not issubclass(kind, nn.Module):
            raise TypeError(f"kinds must be classes of nn.Module, got {kind.__name__}")
    activations: dict[str, Tensor] = {}

    def recorder(name: str):
        def hook(module: nn.Module, args: tuple, out: Tensor) -> None:
            weights = None if outputs else getattr(module, "weights", None)
            activations[name] = (weights(*args) if weights else out).detach()

        return hook

    handles = [
        m.register_forward_hook(recorder(name))
        for name, m in validate.instance("net", net, nn.Module).named_modules()
        if isinstance(m, kinds)
    ]
    try:
        yield activations
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def cross_attention_maps(network: Network, x_t: Tensor, t: Time, side: int = 16) -> Tensor:
    """The cross-attention weights of x_t (B, C, H, W) at time t on each token of its caption: (B, L, side, side).

    They are the mean over all heads of all cross-attention layers on side x side maps, and sum to 1 over L, which includes the
    start token. A net that is not made of our layers has its own `record_attention`, a context as that of `record_activations`.
    Raises ValueError if there is no such layer.
    """
    validate.sizes(side=side)
    validate.batch("x_t", x_t)
    net = validate.instance("network", network, Network).net
    record = getattr(net, "record_attention", None) or (lambda: record_activations(net, (CrossAttention,)))
    with record() as activations:
        network(x_t, t)
    weights = [each.mean(1) for each in activations.values() if each.shape[2] == side**2]  # (B, H * W, L) each
    if not weights:
        raise ValueError(f"side must be that of maps with cross-attention, got {side}")
    return torch.stack(weights).mean(0).transpose(1, 2).unflatten(2, (side, side)).to(x_t)
