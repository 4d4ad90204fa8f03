"""What encoders of spectrograms read of a batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repcore.errors import ShapeError
from repcore.interfaces import Batch
from repcore.shapes import check_shape


def spectrogram_inputs(batch: Batch, owner: str, mel_bins: int | None) -> tuple[Tensor, Tensor | None]:
    """``spectrogram`` (B, T, F) and ``frames`` (B,) of a batch, checked.

    Raises:
        ShapeError: they are missing, misshapen, or have other mel bins than the encoder.
    """
    if not isinstance(batch.inputs, Mapping) or "spectrogram" not in batch.inputs:
        raise ShapeError(f"{owner} expects batch.inputs with 'spectrogram'", got=type(batch.inputs).__name__)
    spectrogram: Tensor = batch.inputs["spectrogram"]
    sizes = check_shape(spectrogram, "B frames mel", name="spectrogram", owner=owner)
    if mel_bins is not None and sizes["mel"] != mel_bins:
        raise ShapeError(
            f"spectrogram has {sizes['mel']} mel bins; this {owner} was made for {mel_bins}",
            hint="the model's own preprocessing makes spectrograms that fit",
        )
    frames: Tensor | None = batch.inputs.get("frames")
    if frames is not None:
        check_shape(frames, "B", name="frames", owner=owner, bound=sizes)
    return spectrogram, frames
