"""Lesson 25: diffusion transformers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from course_lib.nets import dit, unet
from course_lib.nets.dit import Modulation
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import normal

# patchify

SHEET, GREY = normal(2, 3, 4, 6, seed=1), normal(3, 1, 6, 6, seed=2)


def _patchify(x, patch):
    """The tokens (B, N, patch^2 C) of pictures x (B, C, H, W). Peebles and Xie 2023, section 3.2."""
    B, C, H, W = x.shape
    rows, columns = H // patch, W // patch
    x = x.reshape(B, C, rows, patch, columns, patch)
    x = x.permute(0, 2, 4, 3, 5, 1)  # B, rows, columns, patch, patch, C
    return x.reshape(B, rows * columns, patch * patch * C)


_ORDER = "x.permute(0, 2, 4, 3, 5, 1)"

patchify = Check(
    "patchify",
    _patchify,
    cases=[
        Case("a token for each patch", lambda fn: torch.tensor(on(SHEET, 2)(fn).shape)),
        Case("grey pictures, in patches of 2 x 2", on(GREY, 2)),
        Case("grey pictures, in patches of 3 x 3", on(GREY, 3)),
        Case("colour pictures that are not square", on(SHEET, 2)),
        Case("patches of one pixel", on(SHEET, 1)),
        Case("the pictures are left as they were", after(SHEET, 2)),
    ],
    mistakes={
        "the picture is cut into runs of its memory, not into patches: a reshape alone does not bring neighbours together": {
            "x = x.reshape(B, C, rows, patch, columns, patch)": "",
            _ORDER: "x",
        },
        "the patches go column by column; they go row by row": {_ORDER: "x.permute(0, 4, 2, 3, 5, 1)"},
        "the pixels of a patch go column by column; they go row by row": {_ORDER: "x.permute(0, 2, 4, 5, 3, 1)"},
        "within a token the channels come first; each pixel's channels stand together": {_ORDER: "x.permute(0, 2, 4, 1, 3, 5)"},
        "pixel and patch have changed places: a token has the same pixel of all patches": {
            _ORDER: "x.permute(0, 3, 5, 2, 4, 1)",
            "rows * columns, patch * patch * C": "-1, patch * patch * C",
        },
        "tokens and their numbers have changed places: the shape is (B, N, patch^2 C)": {
            "patch * patch * C)": "patch * patch * C).transpose(1, 2)",
        },
        "the picture is split into `patch` parts a side; a patch has `patch` pixels a side": {
            "x.reshape(B, C, rows, patch, columns, patch)": "x.reshape(B, C, patch, rows, patch, columns)",
            "rows * columns, patch * patch * C": "-1, rows * columns * C",
        },
        "rows and columns of the picture have changed places": {
            "x = x.reshape(B, C, rows, patch, columns, patch)": "x = x.mT.reshape(B, C, columns, patch, rows, patch)",
        },
    },
    hint="reshape to (B, C, rows, patch, columns, patch); permute to (B, rows, columns, patch, patch, C); reshape to "
    "(B, rows * columns, patch * patch * C).",
    shown=(dit.patchify,),
)


# dit_block

H, OTHER = normal(2, 5, 4, seed=3) + 0.4, normal(2, 5, 4, seed=4) - 0.2
ATTN, MLP = (Modulation(*normal(3, 2, 4, seed=seed)) for seed in (5, 6))
SHUT = Modulation(*normal(2, 2, 4, seed=7), torch.zeros(2, 4))


def _mix(h: Tensor) -> Tensor:
    """In the place of attention: each token with the mean of all, not linear."""
    return torch.tanh(0.7 * h + 0.9 * h.mean(1, keepdim=True)) + 0.2


def _bend(h: Tensor) -> Tensor:
    """In the place of the MLP: each token on its own."""
    return torch.sin(1.3 * h) - 0.1


def _dit_block(h, attn, mlp, attention, feedforward):
    """A block with adaLN-Zero (B, N, width). Peebles and Xie 2023, section 3.2 and figure 3."""
    norm = lambda h: torch.nn.functional.layer_norm(h, h.shape[-1:])
    first = norm(h) * (1 + attn.scale[:, None]) + attn.shift[:, None]
    h = h + attn.gate[:, None] * attention(first)
    second = norm(h) * (1 + mlp.scale[:, None]) + mlp.shift[:, None]
    return h + mlp.gate[:, None] * feedforward(second)


_FIRST = "norm(h) * (1 + attn.scale[:, None]) + attn.shift[:, None]"
_SECOND = "norm(h) * (1 + mlp.scale[:, None]) + mlp.shift[:, None]"

dit_block = Check(
    "dit_block",
    _dit_block,
    cases=[
        Case("with both gates 0 the block is the identity", on(H, SHUT, SHUT, _mix, _bend)),
        Case("attention alone, with the gate of the MLP 0", on(H, ATTN, SHUT, _mix, _bend)),
        Case("the MLP alone, with the gate of attention 0", on(H, SHUT, MLP, _mix, _bend)),
        Case("all of it", on(H, ATTN, MLP, _mix, _bend)),
        Case("other tokens, with the two records exchanged", on(OTHER, MLP, ATTN, _mix, _bend)),
        Case("members of a batch do not mix", on(H[:1], *(Modulation(*(v[:1] for v in m)) for m in (ATTN, MLP)), _mix, _bend)),
        Case("the tokens are left as they were", after(H, ATTN, MLP, _mix, _bend)),
    ],
    mistakes={
        "both skip connections are missing": {"h + attn.gate": "attn.gate", "h + mlp.gate": "mlp.gate"},
        "the MLP comes first: attention does": lambda h, attn, mlp, attention, feedforward: _dit_block(
            h, mlp, attn, feedforward, attention
        ),
        "the two records have changed places": lambda h, attn, mlp, attention, feedforward: _dit_block(
            h, mlp, attn, attention, feedforward
        ),
        "the skip connection around attention is missing": {"h + attn.gate": "attn.gate"},
        "the skip connection around the MLP is missing": {"h + mlp.gate": "mlp.gate"},
        "attention has no gate": {"attn.gate[:, None] * ": ""},
        "the MLP has no gate": {"mlp.gate[:, None] * ": ""},
        "there is no gate at all": {"attn.gate[:, None] * ": "", "mlp.gate[:, None] * ": ""},
        "the gates have a 1 added: with gate 0 the block must be the identity": {
            "attn.gate[:, None]": "(1 + attn.gate[:, None])",
            "mlp.gate[:, None]": "(1 + mlp.gate[:, None])",
        },
        "the 1 is missing in 1 + scale": {
            "(1 + attn.scale[:, None])": "attn.scale[:, None]",
            "(1 + mlp.scale[:, None])": "mlp.scale[:, None]",
        },
        "the shifts are missing": {" + attn.shift[:, None]": "", " + mlp.shift[:, None]": ""},
        "the scales are missing": {" * (1 + attn.scale[:, None])": "", " * (1 + mlp.scale[:, None])": ""},
        "shift and scale have changed places": {
            _FIRST: "norm(h) * (1 + attn.shift[:, None]) + attn.scale[:, None]",
            _SECOND: "norm(h) * (1 + mlp.shift[:, None]) + mlp.scale[:, None]",
        },
        "the norm is missing before attention and before the MLP": {
            _FIRST: _FIRST.replace("norm(h)", "h"),
            _SECOND: _SECOND.replace("norm(h)", "h"),
        },
        "the norm is over the tokens too: each token has its own": {"h.shape[-1:])": "h.shape[1:])"},
        "the MLP is given the tokens from before attention, side by side with it; it must follow on attention": {
            "h = h + attn": "before, h = h, h + attn",
            _SECOND: _SECOND.replace("norm(h)", "norm(before)"),
        },
        "the norm comes after attention and after the MLP, in the place of before": {
            _FIRST: "h * (1 + attn.scale[:, None]) + attn.shift[:, None]",
            "attention(first)": "norm(attention(first))",
            _SECOND: "h * (1 + mlp.scale[:, None]) + mlp.shift[:, None]",
            "feedforward(second)": "norm(feedforward(second))",
        },
        "the shift comes first, so that the scale multiplies it too": {
            _FIRST: "(norm(h) + attn.shift[:, None]) * (1 + attn.scale[:, None])",
            _SECOND: "(norm(h) + mlp.shift[:, None]) * (1 + mlp.scale[:, None])",
        },
        "the skip connection starts from the modulated tokens": {"h = h + attn": "h = first + attn"},
        "one record serves both: attention has its own, and so has the MLP": [
            {_SECOND: _SECOND.replace("mlp", "attn"), "h + mlp.gate": "h + attn.gate"},
            {_FIRST: _FIRST.replace("attn", "mlp"), "h + attn.gate": "h + mlp.gate"},
        ],
    },
    hint="h = h + gate * attention(layer_norm(h) * (1 + scale) + shift), each of the record `attn` and with a dimension "
    "for the tokens, [:, None]; then the same with the record `mlp` and feedforward.",
    shown=(dit.DiTBlock,),
)


# count_operations


class _Net(nn.Module):
    """A convolution that may be strided and grouped, tokens, a DiT block, a transposed convolution, and a layer used twice."""

    def __init__(self, groups: int = 1):
        super().__init__()
        self.inward = nn.Conv2d(2, 8, 3, 2, padding=1, groups=groups)
        self.block, self.attention = dit.DiTBlock(8, 2), unet.Attention(8, 2)
        self.twice = nn.Sequential(nn.Linear(8, 8), nn.SiLU())
        self.up = nn.ConvTranspose2d(8, 3, 2, 2, groups=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.attention(self.inward(x))
        tokens = self.block(h.flatten(2).mT, h.mean((2, 3)))
        return self.up(self.twice(self.twice(tokens)).mT.reshape(h.shape))


with torch.random.fork_rng(devices=[]):
    PLAIN, GROUPED, LINEAR = _Net().eval(), _Net(2).eval(), nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).eval()
    CONV = nn.Sequential(nn.Conv2d(2, 4, 3, 2, padding=1), nn.Conv2d(4, 6, 1)).eval()
    UP, BLOCK, PLACES = nn.ConvTranspose2d(3, 5, 2, 2).eval(), dit.DiTBlock(8, 2).eval(), unet.Attention(8, 2).eval()


def _counted(net: nn.Module, *inputs: Tensor) -> Callable:
    """A case's `run`: the count, as a number."""

    def run(fn):
        count = fn(deepcopy(net), *deepcopy(inputs))
        if count is None:
            raise Refused("it must return a whole number, the count")
        return torch.as_tensor(count)

    return run


def _twice(fn: Callable) -> Tensor:
    """The counts of a first and of a second call with one network."""
    net, x = deepcopy(PLAIN), normal(1, 2, 8, 8, seed=8)
    return torch.stack([torch.as_tensor(fn(net, x)) for _ in range(2)])


def _hooks(fn: Callable) -> Tensor:
    """How many hooks are left on the network."""
    net = deepcopy(PLAIN)
    fn(net, normal(1, 2, 8, 8, seed=8))
    return torch.tensor(sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()))


def _count_operations(net, *inputs):
    """The multiply-adds of net(*inputs), a whole number: those of linear layers, convolutions and attention."""
    counts = []

    def count(layer, given, out):
        if isinstance(layer, nn.Linear):
            counts.append(given[0].numel() * layer.out_features)
        elif isinstance(layer, nn.Conv2d):
            counts.append(out.numel() * layer.weight[0].numel())  # C_in / groups * kernel
        elif isinstance(layer, nn.ConvTranspose2d):
            counts.append(given[0].numel() * layer.weight[0].numel())  # C_out / groups * kernel
        elif isinstance(layer, dit.DiTBlock):
            B, N, width = given[0].shape
            counts.append(2 * B * N * N * width)
        elif isinstance(layer, unet.Attention):
            B, C, rows, columns = given[0].shape
            counts.append(2 * B * (rows * columns) ** 2 * C)

    handles = [layer.register_forward_hook(count) for layer in net.modules()]
    with torch.no_grad():
        net(*inputs)
    for handle in handles:
        handle.remove()
    return sum(counts)


def _parameters(net, *inputs):
    """The weights of linear layers and convolutions, whatever the input."""
    kinds = nn.Linear, nn.Conv2d, nn.ConvTranspose2d
    return sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, kinds))


ONE = normal(1, 2, 8, 8, seed=8)
SOME, MANY = torch.randint(3, 60, (2,), generator=seeded(20)).tolist()

count_operations = Check(
    "count_operations",
    _count_operations,
    cases=[
        Case("linear layers", _counted(LINEAR, normal(1, 5, seed=9))),
        Case("linear layers on many tokens", _counted(LINEAR, normal(2, SOME, 5, seed=9))),
        Case("convolutions, with a stride", _counted(CONV, ONE)),
        Case("transposed convolutions", _counted(UP, normal(1, 3, 4, 4, seed=9))),
        Case("a DiT block", _counted(BLOCK, normal(2, MANY, 8, seed=9), normal(2, 8, seed=10))),
        Case("self-attention over the places of a map", _counted(PLACES, normal(2, 8, 3, SOME, seed=9))),
        Case("all of it, with a layer that is called twice", _counted(PLAIN, ONE)),
        Case("a convolution in groups", _counted(GROUPED, ONE)),
        Case("a second call counts the same", _twice),
        Case("no hook is left behind", _hooks),
    ],
    mistakes={
        "the parameters are counted; each works once for every token or pixel": _parameters,
        "the products of attention are missing: queries with keys, weights with values": {
            "counts.append(2 * B * N * N * width)": "pass",
            "counts.append(2 * B * (rows * columns) ** 2 * C)": "pass",
        },
        "attention has two products, each of N N width multiply-adds": {
            "2 * B * N * N": "B * N * N",
            "2 * B * (rows": "B * (rows",
        },
        "attention grows with the square of the tokens, not with their number": {
            "B * N * N * width": "B * N * width",
            "(rows * columns) ** 2": "(rows * columns)",
        },
        "a transposed convolution works once for each input, not for each output": {
            "given[0].numel() * layer.weight[0]": "out.numel() * layer.weight[0]"
        },
        "transposed convolutions are missing": {"counts.append(given[0].numel() * layer.weight[0].numel())": "pass"},
        "the kernel of a convolution is missing": {"out.numel() * layer.weight[0].numel()": "out.numel() * layer.in_channels"},
        "a convolution is counted at its input's size; with a stride it works less often": {
            "out.numel() * layer.weight[0].numel()": "given[0][0, 0].numel() * len(out) * layer.weight.numel()"
        },
        "multiplications and additions are counted apart: a multiply-add is one operation here": {
            "return sum(counts)": "return 2 * sum(counts)"
        },
        "the groups of a convolution are ignored": {
            "out.numel() * layer.weight[0].numel()": "out.numel() * layer.in_channels * layer.weight[0, 0].numel()"
        },
        "the count is of one member of the batch": {"return sum(counts)": "return sum(counts) // len(inputs[0])"},
        "the hooks stay on the network: remove them": {"handle.remove()": "pass"},
    },
    hint="Register a forward hook on every module; in it add input.numel() * out_features for a Linear, out.numel() * "
    "weight[0].numel() for a Conv2d, input.numel() * weight[0].numel() for a ConvTranspose2d, 2 B N^2 width for attention; "
    "call the net; remove the hooks.",
)
