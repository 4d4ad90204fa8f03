"""What the encoders of images and volumes share: from a batch to features, whatever the backbone.

A batch holds whole images in the range 0 to 1. The encoder takes off the channel statistics that came with the
preprocessor, resizes to its input size, and gives one vector an image and a map of its last stage.

Symbols: B images, C channels, D width, T positions of the map, s axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore_medical3d.configs.adam_v2 import AnatomyEncoderConfig
from repcore_medical3d.layers.sampling import resized

INPUTS = ("image", "volume")  # names under which preprocessors of 2-D and 3-D data put the tensor


class Backbone(Protocol):
    """A network with stages; ``dim`` is the width of its pooled vector."""

    dim: int

    @property
    def stem_width(self) -> int:
        """Channels after the stem."""
        ...

    def stem(self, images: Tensor) -> Tensor:
        """Map (N, D_0, *S_0) after the stem."""
        ...

    def stages_from(self, stem: Tensor, until: int | None = None) -> list[Tensor]:
        """Maps (N, D_i, *S_i): the stem's, then after each stage (all, or the first ``until``)."""
        ...

    def stages_of(self, images: Tensor) -> list[Tensor]:
        """``stages_from(stem(images))``."""
        ...

    def pooled(self, last: Tensor) -> Tensor:
        """Vector (N, D) of the last map."""
        ...

    def dense(self, last: Tensor) -> Tensor:
        """The last map in the form in which its positions are compared, (N, D, *S)."""
        ...


class AnatomyEncoder(nn.Module):
    """An encoder around a backbone.

    Args:
        config: channels, input size, statistics.
        backbone: see :class:`Backbone`.

    Call:
        batch: ``inputs["image"]`` float (B, C, H, W) or ``inputs["volume"]`` (B, C, D, H, W), 0 to 1.
    Returns:
        pooled (B, D), or with ``pool_grid`` (B, D * cells), cells of a channel together; tokens ``map`` (B, T, D) with
        grid positions; layers 0 (stem) to the number of stages. ``source`` of all says in which position each pixel or
        voxel lies.
    """

    def __init__(self, config: AnatomyEncoderConfig, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.dim = int(cast(Backbone, backbone).dim) * config.pool_grid**config.spatial_dims
        channels = input_channels(config)
        mean = config.mean or (0.0,) * channels
        deviation = config.deviation or (1.0,) * channels
        if len(mean) != channels or len(deviation) != channels or min(deviation) <= 0:
            raise ConfigError(
                f"mean={mean} and deviation={deviation} do not fit {channels} channels", field="encoder.mean"
            )
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation), persistent=False)

    @property
    def _width(self) -> int:
        """Channels of the last map."""
        return int(cast(Backbone, self.backbone).dim)

    @property
    def axes(self) -> int:
        """2 or 3."""
        return int(self.config.spatial_dims)

    def images(self, batch: Batch) -> Tensor:
        """The tensor of a batch, (B, C, *E) in 0 to 1.

        Raises:
            ShapeError: none there, or of another number of axes or channels.
        """
        inputs = batch.inputs
        found = next((inputs[name] for name in INPUTS if name in inputs), None)
        wanted = input_channels(self.config)
        if found is None or found.ndim != self.axes + 2 or found.shape[1] != wanted:
            got = "no image" if found is None else f"shape {tuple(found.shape)}"
            raise ShapeError(
                f"the batch has {got}; the encoder expects {wanted} channels and {self.axes} axes",
                hint="encoder.spatial_dims, encoder.input_channels, or another --reader",
            )
        return cast(Tensor, found)

    def standardised(self, views: Tensor) -> Tensor:
        """Channel statistics taken off (N, C, *S)."""
        shape = (1, -1, *[1] * self.axes)
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        return (views - mean.view(shape)) / deviation.view(shape)

    def embed(self, views: Tensor) -> Tensor:
        """Vectors (N, D) of views (N, C, *S) in 0 to 1."""
        return self._pooled(cast(Backbone, self.backbone).stages_of(self.standardised(views))[-1])

    def _pooled(self, last: Tensor) -> Tensor:
        """Vectors (N, D) of last maps; of a grid, means over its cells of positions as the backbone compares them."""
        backbone, grid = cast(Backbone, self.backbone), self.config.pool_grid
        if grid == 1:
            return backbone.pooled(last)
        maps = backbone.dense(last)
        cells: Tensor = F.adaptive_avg_pool2d(maps, grid) if self.axes == 2 else F.adaptive_avg_pool3d(maps, grid)
        return cells.flatten(1)

    def dense(self, views: Tensor) -> Tensor:
        """Last map (N, D, *S) of views in 0 to 1."""
        backbone = cast(Backbone, self.backbone)
        return backbone.dense(backbone.stages_of(self.standardised(views))[-1])

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """``until``: the last stage to compute, whose map then takes the place of the last one."""
        backbone = cast(Backbone, self.backbone)
        if until is None:
            return self._features(backbone.stages_of(self._entering(batch)), layers, self._edges(batch))
        if until < 0:
            raise ConfigError(f"until={until}: stages are counted from 0, the stem")
        maps = backbone.stages_from(backbone.stem(self._entering(batch)), until)
        return self._features(maps, layers, self._edges(batch))

    def token_width(self, level: str = "map") -> int:
        """Width of the ``map``, or of ``embedding``: what :meth:`embed_tokens` gives."""
        return int(cast(Backbone, self.backbone).stem_width) if level == "embedding" else self._width

    def embed_tokens(self, batch: Batch) -> Tokens:
        """The map after the stem, (B, T, D0) in raster order."""
        return as_tokens(cast(Backbone, self.backbone).stem(self._entering(batch)))

    def encode_tokens(self, tokens: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """Features of a map after the stem, some of whose positions may have been replaced."""
        assert tokens.position is not None  # embed_tokens gives it
        edges = (tokens.position[0].amax(0) + 1).tolist()
        stem = tokens.values.transpose(1, 2).unflatten(2, edges)
        return self._features(cast(Backbone, self.backbone).stages_from(stem), layers, self._edges(batch))

    def stage_maps(self, batch: Batch) -> list[Tensor]:
        """The images with their statistics taken off, at their own size, and the map of every stage, fine to coarse."""
        views = self.standardised(self.images(batch))
        return [views, *cast(Backbone, self.backbone).stages_of(views)]

    def _edges(self, batch: Batch) -> Sequence[int]:
        return self.images(batch).shape[2:]

    def _entering(self, batch: Batch) -> Tensor:
        images = self.images(batch)
        if self.config.input_size is not None:
            images = resized(images, self.config.input_size)
        return self.standardised(images)

    def _features(self, maps: list[Tensor], layers: Sequence[int], edges: Sequence[int]) -> Features:
        backbone = cast(Backbone, self.backbone)
        if any(not 0 <= layer < len(maps) for layer in layers):
            raise ConfigError(f"layers={tuple(layers)}: the encoder has layers 0 to {len(maps) - 1}")
        whole = maps[-1].shape[1] == self._width  # a stage before the last has another width, and no final norm
        return Features(
            pooled=self._pooled(maps[-1]) if whole else maps[-1].flatten(2).mean(-1),
            tokens={"map": as_tokens(backbone.dense(maps[-1]) if whole else maps[-1], edges)},
            layers={layer: as_tokens(maps[layer], edges) for layer in layers},
        )


def input_channels(config: AnatomyEncoderConfig) -> int:
    """Channels of the input; 1 where neither the config nor a preprocessor says it."""
    return 1 if config.input_channels is None else config.input_channels


def as_tokens(maps: Tensor, edges: Sequence[int] = ()) -> Tokens:
    """A map (N, D, *S) as tokens in raster order, with grid positions (N, T, s).

    Args:
        edges: of the image, where tokens are to answer for its pixels.
    """
    steps = [torch.arange(edge, device=maps.device) for edge in maps.shape[2:]]
    position = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).flatten(0, -2)
    source = position_of_pixels(maps, edges) if edges else None
    return Tokens(maps.flatten(2).transpose(1, 2), position=position.expand(len(maps), -1, -1), source=source)


def position_of_pixels(maps: Tensor, edges: Sequence[int]) -> Tensor:
    """Number of the position of a map (N, D, *S) in which each pixel of the image lies, int64 (N * prod(edges),),
    counted over the batch."""
    inner = torch.zeros((), dtype=torch.int64, device=maps.device)
    for size, edge in zip(maps.shape[2:], edges, strict=True):
        line = ((torch.arange(edge, device=maps.device) + 0.5) * size / edge).long().clamp(max=size - 1)
        inner = inner[..., None] * size + line
    first = torch.arange(len(maps), device=maps.device) * maps[0, 0].numel()
    return (first[:, None] + inner.reshape(1, -1)).reshape(-1)
