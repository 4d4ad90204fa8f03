from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class EdgeNetConfig:
    width: int = field(default=12, metadata={"help": "feature width"})
    edge_width: int | None = field(default=None, metadata={"help": "edge attributes"})


@dataclass(frozen=True, kw_only=True)
class MaskedEdgesConfig:
    mask_ratio: float = field(default=0.25, metadata={"help": "share of edges hidden"})


@dataclass(frozen=True, kw_only=True)
class RingsConfig:
    items: int = field(default=48, metadata={"help": "number of graphs"})


@dataclass(frozen=True, kw_only=True)
class GraphBatchesConfig:
    scale: float = field(default=1.0, metadata={"help": "factor on edge attributes"})


def tiny() -> RunConfig:
    return RunConfig(
        encoder=Part("edges/edge-net"),
        objective=Part("edges/masked-edges"),
        dataset=Part("edges/rings"),
        preprocessor=Part("edges/pyg"),
        data=DataConfig(batch_size=6, validation_share=0.25),
        optimiser=OptimiserConfig(lr=1e-2),
        trainer=TrainerConfig(steps=10, log_every=1, validate_every=5),
    )
