"""A CLIP vision tower that also gives the attention of its class token: teacher ``clip-local``.

Source: Radford et al. 2021 (CLIP, arXiv 2103.00020) and `openai/CLIP` (MIT); I2P-MAE reads its patch features after the
last norm and projection, and the last block's class-token attention as saliency.

Differs: the three equal colour channels and the image normalisation are folded into a patch embedding of one channel,
which is exact; only the row of the attention that is used is made.

Symbols: M images, S pixels a side, T patches, D width, C projected width, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repcore.errors import ShapeError
from repcore.nn.transformer import SelfAttention
from repcore_pointcloud.teachers.maps import TeacherMaps

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
QUICK_GELU = 1.702
HEAD_WIDTH = 64  # of every released CLIP tower


@dataclass(frozen=True, slots=True)
class VisionSizes:
    """Sizes of a tower: D, depth, H, pixels of a patch, pixels of the image, C, feed-forward width."""

    width: int
    depth: int
    heads: int
    patch: int
    image: int
    outputs: int
    hidden: int


class VisionBlock(nn.Module):
    """Pre-norm attention and feed-forward with CLIP's quick GELU, or the exact one."""

    def __init__(self, sizes: VisionSizes, quick_gelu: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.attention = SelfAttention(sizes.width, sizes.heads)
        self.feed_forward_norm = nn.LayerNorm(sizes.width)
        self.expand = nn.Linear(sizes.width, sizes.hidden)
        self.contract = nn.Linear(sizes.hidden, sizes.width)
        self.quick_gelu = quick_gelu

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden))
        inner = self.expand(self.feed_forward_norm(hidden))
        inner = inner * torch.sigmoid(QUICK_GELU * inner) if self.quick_gelu else nn.functional.gelu(inner)
        out: Tensor = hidden + self.contract(inner)
        return out

    def class_attention(self, hidden: Tensor) -> Tensor:
        """Attention of the class token to every patch, mean over heads: (M, T)."""
        qkv = self.attention.qkv(self.attention_norm(hidden))
        query, key, _ = qkv.unflatten(-1, (3, self.attention.heads, -1)).unbind(2)
        scores = torch.einsum("mhd,mthd->mht", query[:, 0], key) / math.sqrt(query.shape[-1])
        return scores.softmax(-1).mean(1)[:, 1:]


class ClipTeacher(nn.Module):
    """Patch features (projected, not normalised) and class-token saliency of depth images.

    Args:
        sizes: of the tower.
        image_norm: mean and standard deviation of the three channels.
        quick_gelu: CLIP's own activation; False for towers with the exact one.

    Call:
        depth: (M, S, S), sums of depths (op ``pointcloud/depth-views``); S as the tower was made for.
    Returns:
        :class:`TeacherMaps` on the grid of patches.

    Raises:
        ShapeError: images of another size.
    """

    standardised_targets = False

    def __init__(
        self, sizes: VisionSizes, *, image_norm: tuple[tuple[float, ...], tuple[float, ...]], quick_gelu: bool = True
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.channels = sizes.outputs
        self.grid = sizes.image // sizes.patch
        self.image_norm = image_norm
        self.patch_weight = nn.Parameter(torch.zeros(sizes.width, 3, sizes.patch, sizes.patch))
        self.class_token = nn.Parameter(torch.zeros(sizes.width))
        self.positions = nn.Parameter(torch.zeros(1 + self.grid**2, sizes.width))
        self.first_norm = nn.LayerNorm(sizes.width)
        self.blocks = nn.ModuleList(VisionBlock(sizes, quick_gelu) for _ in range(sizes.depth))
        self.last_norm = nn.LayerNorm(sizes.width)
        self.projection = nn.Parameter(torch.zeros(sizes.width, sizes.outputs))

    def forward(self, depth: Tensor) -> TeacherMaps:
        if depth.shape[-2:] != (self.sizes.image, self.sizes.image):
            raise ShapeError(
                f"images of {tuple(depth.shape[-2:])} pixels; this teacher was made for {self.sizes.image}",
                hint=f"objective.image_size={self.sizes.image}",
            )
        patches = self._embed(torch.sigmoid(depth.float())).flatten(2).transpose(1, 2)  # (M, T, D)
        first = self.class_token.expand(len(patches), 1, -1)
        hidden = self.first_norm(torch.cat([first, patches], dim=1) + self.positions)
        saliency = hidden.new_zeros(len(hidden), self.grid**2)
        for number, block in enumerate(self.blocks):
            assert isinstance(block, VisionBlock)
            if number == len(self.blocks) - 1:
                saliency = block.class_attention(hidden)
            hidden = block(hidden)
        features = self.last_norm(hidden[:, 1:]) @ self.projection  # (M, T, C)
        grid = (self.grid, self.grid)
        return TeacherMaps(features.transpose(1, 2).unflatten(2, grid), saliency.unflatten(1, grid))

    def _embed(self, image: Tensor) -> Tensor:
        """Patch embedding of the normalised three-channel image from one channel (M, S, S)."""
        mean, deviation = (torch.tensor(one, device=image.device).view(1, 3, 1, 1) for one in self.image_norm)
        weight = self.patch_weight / deviation
        bias = -(weight * mean).sum((1, 2, 3))
        return nn.functional.conv2d(image[:, None], weight.sum(1, keepdim=True), bias, stride=self.sizes.patch)


class TransformersTeacher(nn.Module):
    """Any vision transformer with a class token that ``transformers`` loads (DINOv2, ViT, ...).

    Args:
        model: an instance with eager attention, called with ``pixel_values`` and ``output_attentions``.
        image_norm: mean and standard deviation of the three channels.

    Call: as :class:`ClipTeacher`; features are the last hidden states of the patches.
    """

    standardised_targets = True  # widths and scales differ from model to model

    def __init__(self, model: nn.Module, image_norm: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__()
        self.model = model
        self.channels = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]  # transformers' own config
        self.image_norm = image_norm

    def forward(self, depth: Tensor) -> TeacherMaps:
        mean, deviation = (torch.tensor(one, device=depth.device).view(1, 3, 1, 1) for one in self.image_norm)
        image = (torch.sigmoid(depth.float())[:, None] - mean) / deviation
        out = self.model(pixel_values=image, output_attentions=True)
        side = math.isqrt(out.last_hidden_state.shape[1] - 1)
        skipped = out.last_hidden_state.shape[1] - side**2  # class token, and registers where there are any
        features = out.last_hidden_state[:, skipped:].transpose(1, 2)
        saliency = out.attentions[-1].mean(1)[:, 0, skipped:]
        return TeacherMaps(features.unflatten(2, (side, side)), saliency.unflatten(1, (side, side)))
