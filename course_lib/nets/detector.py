"""The detector of shapes, which evaluates whether a generated picture shows its caption."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, unfold

from course_lib import validate
from course_lib.datasets.scenes import COLOURS, MAX_OBJECTS, NONE, PLACES, SHAPES, SIZES, Scene
from course_lib.datasets.shapes import SIDE, Layout
from course_lib.denoisers import runs_on_its_device

CELL = 2
"""The side of a cell in pixels: objects are detected on a grid of 16 x 16 cells."""
HEAT = 0.5
"""The threshold on the heatmap: a local maximum above it is an object's centre."""
PARTS = (1, len(SHAPES), len(COLOURS), len(SIZES))
"""The output channels of a cell: the heatmap's logit, and the logits of an object's shape, colour and size."""


class SceneDetector(nn.Module):
    """Pictures x (B, 3, 32, 32) in [-1, 1] to maps (B, 13, 16, 16): a heatmap of objects' centres and logits of attributes.

    Objects are detected as points: Zhou, Wang, Kraehenbuehl 2019, section 3.
    """

    def __init__(self, width: int = 48):
        super().__init__()
        validate.multiple("width", width, 2)

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

    @runs_on_its_device
    def features(self, x: Tensor) -> Tensor:
        """The mean of the last map over each quarter (B, 192), in which sets of pictures are compared."""
        return nn.functional.adaptive_avg_pool2d(self.body(validate.shape("x", x, 3, SIDE, SIDE)), 2).flatten(1)

    @runs_on_its_device
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(validate.shape("x", x, 3, SIDE, SIDE)))

    @torch.no_grad()
    def locate(self, x: Tensor) -> tuple[Scene, Tensor]:
        """The scenes in pictures x (B, 3, 32, 32) in [-1, 1], and the centres (B, MAX_OBJECTS, 2), in pixels from the middle.

        Both are on the CPU. At most MAX_OBJECTS objects are detected. Of two, the left or upper one comes first.
        """
        validate.batch("x", x)
        maps = torch.cat([self(part.clamp(-1, 1)) for part in x.split(128)]).cpu()  # small batches fit a CPU's cache
        heat, *logits = maps.split(PARTS, 1)
        heat = heat.sigmoid()
        peak = torch.where(heat == max_pool2d(heat, 3, 1, 1), heat, 0).flatten(1)
        height, cell = peak.topk(MAX_OBJECTS, 1)
        mask = height > HEAT
        centre = _centre(heat, cell)
        shape, colour, size = (part.flatten(2).argmax(1).gather(1, cell) for part in logits)
        offset = centre[:, 1] - centre[:, 0]
        relation = (offset[:, 1].abs() > offset[:, 0].abs()).long()
        swap = (mask.sum(1) == 2) & (offset.gather(1, relation[:, None])[:, 0] < 0)
        as_is = torch.arange(MAX_OBJECTS, device="cpu", dtype=torch.long)
        order = torch.where(swap[:, None], as_is[[1, 0, 2, 3]], as_is)
        shape, colour, size, mask = (v.gather(1, order) for v in (shape, colour, size, mask))
        centre = centre.gather(1, order[..., None].expand_as(centre))
        shape, colour, size = (torch.where(mask, v, NONE) for v in (shape, colour, size))
        count = mask.sum(1)
        place = torch.where(count == 1, _place(centre[:, 0]), NONE)
        return Scene(shape, colour, size, place, torch.where(count == 2, relation, NONE)), centre

    def detect(self, x: Tensor) -> Scene:
        """The scenes in pictures x (B, 3, 32, 32) in [-1, 1] (see `locate`)."""
        return self.locate(x)[0]


def _grid() -> Tensor:
    """The centre of each cell (2, 16, 16), x and y in pixels from the middle of the picture."""
    line = (torch.arange(SIDE // CELL, device="cpu", dtype=torch.float32) + 0.5) * CELL - SIDE / 2
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def _centre(heat: Tensor, cell: Tensor) -> Tensor:
    """The centres (B, MAX_OBJECTS, 2) in pixels: the mean of each cell and its neighbours, weighted by heat (B, 1, 16, 16)."""
    around = unfold(heat, 3, padding=1).gather(2, cell[:, None].expand(-1, 9, -1))  # (B, 9, MAX_OBJECTS)
    places = unfold(_grid()[:, None], 3, padding=1)[:, :, cell]  # (2, 9, B, MAX_OBJECTS)
    weight = around.transpose(0, 1) + 1e-9
    return ((places * weight).sum(1) / weight.sum(0)).permute(1, 2, 0)


def _place(centre: Tensor) -> Tensor:
    """The indices in PLACES (B,) of centres (B, 2): a quarter, or the middle if both coordinates are below 3.5 pixels."""
    quarter = (centre[:, 0] > 0).long() + 2 * (centre[:, 1] > 0).long()
    return torch.where((centre.abs() < 3.5).all(1), PLACES.index("middle"), quarter)


def detection_loss(maps: Tensor, scene: Scene, where: Layout) -> Tensor:
    """The loss () of maps (B, 13, 16, 16), given scenes and their layout: cross-entropies of the heatmap and the attributes.

    The heatmap's target is a Gaussian around each centre, with a standard deviation of three quarters of a cell. Shape, colour
    and size are predicted in the cell of the centre.
    """
    validate.floats("maps", maps, sum(PARTS), SIDE // CELL, SIDE // CELL)
    validate.same_shape(
        "where.x", validate.instance("where", where, Layout).x, "scene.shape", validate.instance("scene", scene, Scene).shape
    )
    centre = torch.stack([where.x, where.y], 2).to(maps.device)  # (B, MAX_OBJECTS, 2)
    mask = (scene.shape >= 0).to(maps.device)
    offset = centre.view(*centre.shape, 1, 1) - _grid().to(maps.device)
    peak = torch.exp(-offset.square().sum(2) / (2 * (0.75 * CELL) ** 2)) * mask[..., None, None]  # (B, MAX_OBJECTS, 16, 16)
    heat, *attributes = maps.split(PARTS, 1)
    loss = 20 * nn.functional.binary_cross_entropy_with_logits(heat[:, 0], peak.amax(1))
    column, row = ((centre + SIDE / 2) / CELL).long().clamp(0, SIDE // CELL - 1).unbind(2)
    cell = row * (SIDE // CELL) + column
    for part, target in zip(attributes, (scene.shape, scene.colour, scene.size)):
        logits = part.flatten(2).gather(2, cell[:, None].expand(-1, part.shape[1], -1))  # (B, classes, MAX_OBJECTS)
        loss = loss + nn.functional.cross_entropy(logits, target.to(maps.device), ignore_index=NONE)
    return loss
