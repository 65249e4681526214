"""Networks of other libraries, of about the size of this course's."""

from diffusers import UNet2DModel
from torch import nn

from course_lib.nets.embeddings import LabelEmbedding


class Diffusers(nn.Module):
    """diffusers' UNet2DModel, of about the size of ours, with the signature of our networks."""

    def __init__(self):
        super().__init__()
        self.unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(16, 32, 48),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            num_class_embeds=11,
        )
        self.as_condition = LabelEmbedding(10, 1).as_condition

    def forward(self, x, time, cond):
        return self.unet(x, (1000 * time - 1).round(), class_labels=cond).sample  # diffusers counts t from 0 to 999
