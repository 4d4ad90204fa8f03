"""MONAI's SwinUNETR and ViT as backbones that Alice can train: ``medical3d/swin-unetr`` and ``medical3d/volume-vit``.

Source: Project-MONAI/MONAI, `monai.networks.nets` (SwinUNETR, ViT). MONAI computes; what is ours is the interface of
:class:`repcore_medical3d.encoders.volume_backbone.VolumeBackbone` and the small decoder of the ViT.

Symbols: B cubes, S edge, C channels. Maps are channels last, (B, d, h, w, C).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_medical3d.configs.nnformer import SwinUnetrConfig, VolumeVitConfig
from repcore_medical3d.encoders.volume_backbone import READOUTS, channels_of, pyramid_features, stages_together

SWIN_NAME, VIT_NAME = "medical3d/swin-unetr", "medical3d/volume-vit"


class SwinUnetr(nn.Module):
    """Five maps of MONAI's Swin transformer and its convolutional decoder.

    Args:
        config: sizes.

    Call:
        batch: ``inputs["volume"]`` float (B, 1, S, S, S).
    Returns:
        Features: pooled (B, 16 * width), the mean of the coarsest map; levels ``stage4`` to ``stage0``.

    Raises:
        ConfigError: an edge that is no multiple of 32 or below 64. ShapeError: another input size.
    """

    readouts = READOUTS

    def __init__(self, config: SwinUnetrConfig) -> None:
        from monai.networks.nets import SwinUNETR

        super().__init__()
        edge = _edge(config.crop_edge, 32, least=64)  # norms of the coarsest map need more than one token
        if config.width % 12:
            raise ConfigError(f"width={config.width} is no multiple of 12", field="encoder.width", hint="48")
        self.config, self.edge = config, edge
        self.stem_stride = 2
        self.widths = tuple(config.width * 2**stage for stage in range(5))
        self.dim = self.widths[-1]
        self.network = SwinUNETR(
            in_channels=channels_of(config), out_channels=channels_of(config), depths=config.depths,
            num_heads=config.heads, window_size=config.window, feature_size=config.width,
            dropout_path_rate=config.drop_path, use_v2=config.is_version_2,
        )  # fmt: skip

    @property
    def decoder_width(self) -> int:
        """Width of the first decoder stage."""
        return self.widths[-2]

    def pyramid(self, volume: Tensor, hidden: Tensor | None = None) -> list[Tensor]:
        """Normed maps from fine to coarse. ``hidden`` must be None: there is no mask token."""
        assert hidden is None
        _check_cube(volume, self.edge, channels_of(self.config), SWIN_NAME)
        return [one.movedim(1, -1) for one in self.network.swinViT(volume, self.network.normalize)]

    def first_decoder_map(self, pyramid: Sequence[Tensor]) -> Tensor:
        """The coarsest decoder stage, (B, d, h, w, 8 * width)."""
        deepest = self.network.encoder10(pyramid[-1].movedim(-1, 1))
        out: Tensor = self.network.decoder5(deepest, pyramid[-2].movedim(-1, 1)).movedim(1, -1)
        return out

    def finest_decoder_map(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        """The last decoder stage at full resolution, channels first (B, width, S, S, S)."""
        network = self.network
        raised = network.decoder4(first.movedim(-1, 1), network.encoder4(pyramid[2].movedim(-1, 1)))
        raised = network.decoder3(raised, network.encoder3(pyramid[1].movedim(-1, 1)))
        raised = network.decoder2(raised, network.encoder2(pyramid[0].movedim(-1, 1)))
        out: Tensor = network.decoder1(raised, network.encoder1(volume))
        return out

    def reconstruct(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        """The cube redrawn, (B, 1, S, S, S); ``volume`` is what the pyramid saw, for the finest skip."""
        out: Tensor = self.network.out(self.finest_decoder_map(pyramid, first, volume))
        return out

    def read(self, name: str, batch: Batch) -> Tokens:
        """All stages side by side, see :func:`stages_together`."""
        return stages_together(self, name, batch)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        _no_layers(layers)
        return pyramid_features(self.pyramid(batch.inputs["volume"]), self.stem_stride)


class VolumeVit(nn.Module):
    """MONAI's ViT and transposed convolutions that raise its tokens.

    Args:
        config: sizes.

    Call:
        batch: ``inputs["volume"]`` float (B, 1, S, S, S).
    Returns:
        Features: pooled (B, width), the mean over tokens; level ``stage0``.

    Raises:
        ConfigError: a patch that is no power of two of at least 4 or does not divide the edge. ShapeError: another
            input size.
    """

    readouts = READOUTS

    def __init__(self, config: VolumeVitConfig) -> None:
        from monai.networks.nets import ViT

        super().__init__()
        patch = config.patch
        if patch < 4 or patch & (patch - 1):
            raise ConfigError(f"patch={patch} is no power of two from 4 on", field="encoder.patch", hint="16")
        self.config, self.edge = config, _edge(config.crop_edge, patch)
        self.stem_stride = patch
        self.dim = config.width
        self.widths: tuple[int, ...] = (config.width,)
        self.network = ViT(
            in_channels=channels_of(config), img_size=(self.edge,) * 3, patch_size=(patch,) * 3,
            hidden_size=config.width, mlp_dim=config.mlp_width, num_layers=config.depth, num_heads=config.heads,
        )  # fmt: skip
        self.first_raise = nn.ConvTranspose3d(config.width, config.width // 2, 2, stride=2)
        parts: list[nn.Module] = []
        channels = config.width // 2
        for number in range(patch.bit_length() - 2):
            is_last = number == patch.bit_length() - 3
            narrower = max(8, channels // 2)
            parts += [nn.GELU(), nn.ConvTranspose3d(channels, narrower, 2, stride=2)]
            channels = narrower
            if is_last:
                parts += [nn.GELU(), nn.Conv3d(channels, channels_of(config), 1)]
        self.raises = nn.Sequential(*parts)

    @property
    def decoder_width(self) -> int:
        """Width of the first decoder stage."""
        return self.config.width // 2

    def pyramid(self, volume: Tensor, hidden: Tensor | None = None) -> list[Tensor]:
        """The map of the last block. ``hidden`` must be None: there is no mask token."""
        assert hidden is None
        _check_cube(volume, self.edge, channels_of(self.config), VIT_NAME)
        tokens, _ = self.network(volume)
        count = self.edge // self.config.patch
        return [tokens.unflatten(1, (count, count, count))]

    def first_decoder_map(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Tokens raised once, (B, d, h, w, width / 2)."""
        out: Tensor = self.first_raise(pyramid[-1].movedim(-1, 1)).movedim(1, -1)
        return out

    def reconstruct(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor:
        """The cube redrawn, (B, 1, S, S, S); ``pyramid`` and ``volume`` are not needed: there are no skips."""
        del pyramid, volume
        out: Tensor = self.raises(first.movedim(-1, 1))
        return out

    def read(self, name: str, batch: Batch) -> Tokens:
        """All stages side by side, see :func:`stages_together`."""
        return stages_together(self, name, batch)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        _no_layers(layers)
        return pyramid_features(self.pyramid(batch.inputs["volume"]), self.stem_stride)


def _no_layers(layers: Sequence[int]) -> None:
    if layers:
        raise ConfigError(f"layers={list(layers)}: stages are token levels here")


def _edge(edge: int | None, multiple: int, least: int = 0) -> int:
    """The edge of the cubes.

    Raises:
        ConfigError: not known, or no multiple of what the network needs.
    """
    if edge is None or edge % multiple or edge < least:
        raise ConfigError(
            f"crop_edge={edge} is no multiple of {multiple}{f' from {least} on' if least else ''}",
            field="encoder.crop_edge",
            hint=str(max(64, multiple)),
        )
    return edge


def _check_cube(volume: Tensor, edge: int, channels: int, owner: str) -> None:
    """Only cubes of the model's edge.

    Raises:
        ShapeError: another size.
    """
    check_shape(volume, f"B {channels} _ _ _", name="volume", owner=owner)
    if tuple(volume.shape[2:]) != (edge,) * 3:
        raise ShapeError(
            f"volume has shape {tuple(volume.shape)}; this model takes cubes of {edge} voxels",
            hint=f"preprocessor.crop_edge={edge}",
        )
