"""The reader of shapes: the checker that says what a picture shows, whoever drew it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, unfold

from course_lib import validate
from course_lib.datasets.scenes import COLOURS, MOST, NONE, PLACES, SHAPES, SIZES, Scene
from course_lib.datasets.shapes import SIDE, Layout

CELL = 2
"""Pixels of a side of a cell: objects are looked for on a grid of 16 x 16."""
HEAT = 0.5
"""From this heat on, a cell that is hotter than its eight neighbours is an object's centre."""
PARTS = (1, len(SHAPES), len(COLOURS), len(SIZES))
"""What is said of each cell: its heat, and the log-odds of the shape, the colour and the size of an object there."""


class Reader(nn.Module):
    """Pictures x (B, 3, 32, 32) in [-1, 1] to maps (B, 13, 16, 16): where objects have their centres, and what they are.

    An object is a point, with its attributes read at that point: Zhou, Wang, Kraehenbuehl 2019, section 3.
    """

    def __init__(self, width: int = 48):
        super().__init__()

        def layer(inward: int, outward: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(inward, outward, 3, stride, padding=dilation, dilation=dilation, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(outward), nn.ReLU())

        self.body = nn.Sequential(
            layer(3, width // 2),
            layer(width // 2, width, CELL),
            layer(width, width),
            layer(width, width, 1, 2),
            layer(width, width),
        )
        self.head = nn.Conv2d(width, sum(PARTS), 1)

    def features(self, x: Tensor) -> Tensor:
        """The mean over each quarter of the last map (B, 192): the space in which crowds of pictures are compared."""
        return nn.functional.adaptive_avg_pool2d(self.body(x), 2).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(f"x must be pictures (B, 3, {SIDE}, {SIDE}), got shape {tuple(x.shape)}")
        return self.head(self.body(x))

    @torch.no_grad()
    def locate(self, x: Tensor) -> tuple[Scene, Tensor]:
        """What pictures x (B, 3, 32, 32) in [-1, 1] show, and the objects' centres (B, MOST, 2) in pixels from the middle.

        The MOST hottest centres count, on the CPU; of two, the left or upper comes first; of more, the order means nothing.
        """
        validate.batch("x", x)
        maps = torch.cat([self(part.clamp(-1, 1)) for part in x.split(128)]).cpu()  # which a cache can hold
        heat, *said = maps.split(PARTS, 1)
        heat = heat.sigmoid()
        peak = torch.where(heat == max_pool2d(heat, 3, 1, 1), heat, 0).flatten(1)
        hottest, cell = peak.topk(MOST, 1)
        there = hottest > HEAT
        at = _centre(heat, cell)
        shape, colour, size = (part.flatten(2).argmax(1).gather(1, cell) for part in said)
        apart = at[:, 1] - at[:, 0]
        relation = (apart[:, 1].abs() > apart[:, 0].abs()).long()
        turn = (there.sum(1) == 2) & (apart.gather(1, relation[:, None])[:, 0] < 0)
        order = torch.where(turn[:, None], torch.tensor([1, 0, 2, 3]), torch.arange(MOST))
        shape, colour, size, there = (v.gather(1, order) for v in (shape, colour, size, there))
        at = at.gather(1, order[..., None].expand_as(at))
        shape, colour, size = (torch.where(there, v, NONE) for v in (shape, colour, size))
        count = there.sum(1)
        place = torch.where(count == 1, _place(at[:, 0]), NONE)
        return Scene(shape, colour, size, place, torch.where(count == 2, relation, NONE)), at

    def read(self, x: Tensor) -> Scene:
        """What pictures x (B, 3, 32, 32) in [-1, 1] show, all attributes of all objects (see `locate`)."""
        return self.locate(x)[0]


def _grid() -> Tensor:
    """The middle of each cell (2, 16, 16), x and y in pixels from the middle of the picture."""
    line = (torch.arange(SIDE // CELL) + 0.5) * CELL - SIDE / 2
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def _centre(heat: Tensor, cell: Tensor) -> Tensor:
    """The centres (B, MOST, 2) in pixels: the mean of each cell and its neighbours, by their heat (B, 1, 16, 16)."""
    around = unfold(heat, 3, padding=1).gather(2, cell[:, None].expand(-1, 9, -1))  # (B, 9, MOST)
    places = unfold(_grid()[:, None], 3, padding=1)[:, :, cell]  # (2, 9, B, MOST)
    weight = around.transpose(0, 1) + 1e-9
    return ((places * weight).sum(1) / weight.sum(0)).permute(1, 2, 0)


def _place(at: Tensor) -> Tensor:
    """The index in PLACES of centres (B, 2): a quarter, or the middle where both coordinates are under 3.5 pixels."""
    quarter = (at[:, 0] > 0).long() + 2 * (at[:, 1] > 0).long()
    return torch.where((at.abs() < 3.5).all(1), PLACES.index("middle"), quarter)


def reading_loss(maps: Tensor, scene: Scene, where: Layout) -> Tensor:
    """How far maps (B, 13, 16, 16) are from scenes in their layout: cross-entropy of the heat with a bump around each
    centre, three quarters of a cell wide, and of shape, colour and size in the cell of the centre."""
    centre = torch.stack([where.x, where.y], 2).to(maps.device)  # (B, MOST, 2)
    there = (scene.shape >= 0).to(maps.device)
    apart = centre.view(*centre.shape, 1, 1) - _grid().to(maps.device)
    bump = torch.exp(-apart.square().sum(2) / (2 * (0.75 * CELL) ** 2)) * there[..., None, None]  # (B, MOST, 16, 16)
    heat, *said = maps.split(PARTS, 1)
    loss = 20 * nn.functional.binary_cross_entropy_with_logits(heat[:, 0], bump.amax(1))
    column, row = ((centre + SIDE / 2) / CELL).long().clamp(0, SIDE // CELL - 1).unbind(2)
    cell = row * (SIDE // CELL) + column
    for part, truth in zip(said, (scene.shape, scene.colour, scene.size)):
        log_odds = part.flatten(2).gather(2, cell[:, None].expand(-1, part.shape[1], -1))  # (B, classes, MOST)
        loss = loss + nn.functional.cross_entropy(log_odds, truth.to(maps.device), ignore_index=NONE)
    return loss
