"""Settings of the aggregators of bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class MambaMilConfig:
    """The encoder stays as it is; its vectors of all windows of an item become one, in their order or without it."""

    aggregate: Literal["mamba-mil", "attention", "max", "mean"] = setting(
        "mamba-mil", "scans before attention pooling, attention alone, largest or mean number of the windows"
    )
    of: Literal["windows", "tokens"] = setting(
        "windows", "what a bag holds: a vector a window (item), or every token of the encoder's first level"
    )
    scan: Literal["bimamba", "mamba", "srmamba"] = setting(
        "bimamba", "forwards and backwards, forwards, or forwards and with strides of `rate` (published)"
    )
    rate: int | None = setting(
        5, "stride of the second scan (scan=srmamba), published 5 or 10; null = square root of a bag's size", min=1
    )
    padding: Literal["skip", "zeros"] = setting(
        "skip", "bags that `rate` does not divide: visit what is there, or scan zeros between (published)"
    )
    width: int = setting(64, "width of the aggregator and of its vector; published 512", min=1)
    layers: int = setting(2, "blocks with a scan", min=1)
    states: int = setting(8, "states a channel in the scan; published 16", min=1)
    attention_width: int | None = setting(None, "hidden width of the attention; null = a quarter of width", min=1)
    dropout: float = setting(0.0, "after the input layer; published for survival 0.25", min=0, below=1)
    keep: float = setting(1.0, "share of a bag's windows that a training step sees", above=0, max=1)
    standardise: bool = setting(
        True, "windows by mean and deviation over those of the training rows (published: as the encoder gives them)"
    )
    reference_compat: bool = setting(
        False, "as published: padding=zeros, standardise=false, and scan steps of 0.69 at the start, not 0.001 to 0.1"
    )
