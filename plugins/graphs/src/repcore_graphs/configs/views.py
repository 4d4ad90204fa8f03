"""Settings of the random views of graphs."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class GraphChange:
    """What a view changes; each share is of the nodes or edges that are still there."""

    drop_nodes: float = setting(0.1, "share of the nodes that are left out with their edges", min=0, below=1)
    drop_edges: float = setting(0.1, "share of the edges that are left out, both directions together", min=0, below=1)
    hide_nodes: float = setting(0.1, "share of the nodes whose features are hidden", min=0, below=1)
    hide_edges: float = setting(
        0.1, "share of the edges whose features are hidden, both directions together", min=0, below=1
    )

    def __post_init__(self) -> None:
        for name in ("drop_nodes", "drop_edges", "hide_nodes", "hide_edges"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 <= {name} < 1")


@dataclass(frozen=True, kw_only=True)
class GraphPairConfig:
    """Two views alike."""

    change: GraphChange = field(default=GraphChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class GraphWeakStrongConfig:
    """A view with a few hidden features, and one with many parts left out."""

    weak: GraphChange = field(
        default=GraphChange(drop_nodes=0.0, drop_edges=0.05, hide_nodes=0.05, hide_edges=0.05),
        metadata={"help": "changes of the weak view"},
    )
    strong: GraphChange = field(
        default=GraphChange(drop_nodes=0.2, drop_edges=0.2, hide_nodes=0.2, hide_edges=0.2),
        metadata={"help": "changes of the strong view"},
    )
