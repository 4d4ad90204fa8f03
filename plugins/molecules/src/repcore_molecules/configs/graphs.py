"""Settings of molecules as graphs: preprocessor, encoder, masked atoms, views. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore.config.schema import setting
from repcore_molecules.configs.smiles import CleaningConfig


@dataclass(frozen=True, kw_only=True)
class MoleculeGraphConfig:
    """From SMILES to a graph of heavy atoms."""

    deduplicate: bool = setting(True, "train on each distinct molecule once")
    cleaning: CleaningConfig = field(default=CleaningConfig(), metadata={"help": "changes before the graph is read"})


@dataclass(frozen=True, kw_only=True)
class GinConfig:
    """A graph isomorphism network over atoms and bonds."""

    elements: int | None = setting(
        None, "rows of the table of elements; taken from the preprocessor when left out", min=1
    )
    width: int = setting(128, "width of atoms", min=1)
    layers: int = setting(5, "number of layers: how many bonds away an atom sees", min=1, max=1000)
    pooling: Literal["sum-mean", "sum-mean-layers", "sum", "mean", "max"] = setting(
        "sum-mean-layers",
        "what a molecule's vector is: sum and mean of atoms side by side, of the last layer or of every layer "
        "(layers + 1 times as wide), or one of sum, mean, max",
    )
    dropout: float = setting(0.0, "dropout on what a layer adds", min=0, below=1)


@dataclass(frozen=True, kw_only=True)
class MaskedAtomsConfig:
    """Hidden atoms are told from their surroundings."""

    mask_share: float = setting(0.15, "share of a molecule's atoms that are hidden, one at least", above=0, max=1)


@dataclass(frozen=True, kw_only=True)
class AtomChange:
    """What a view changes in a molecule."""

    kept_share: tuple[float, float] = setting(
        (0.6, 1.0),
        "smallest and largest share of the atoms, one connected part of them where there is one, that the view shows",
        above=0,
        max=1,
    )
    hide_share: float = setting(0.15, "share of those that have no features; one of them at least", min=0, below=1)

    def __post_init__(self) -> None:
        low, high = self.kept_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"kept_share={self.kept_share} is not 0 < low <= high <= 1")
        if not 0.0 <= self.hide_share < 1.0:
            raise ValueError(f"hide_share={self.hide_share} is outside 0 <= hide_share < 1")


@dataclass(frozen=True, kw_only=True)
class AtomPairConfig:
    """Two views alike."""

    change: AtomChange = field(default=AtomChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class AtomWeakStrongConfig:
    """A view that shows nearly everything, and one that shows much less."""

    weak: AtomChange = field(
        default=AtomChange(kept_share=(0.95, 1.0), hide_share=0.05), metadata={"help": "changes of the weak view"}
    )
    strong: AtomChange = field(
        default=AtomChange(kept_share=(0.4, 0.8), hide_share=0.3), metadata={"help": "changes of the strong view"}
    )
