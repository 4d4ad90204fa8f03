"""Settings of the random views of molecules."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class SymbolChange:
    """What a view changes in the symbols between begin and end."""

    kept_share: tuple[float, float] = setting(
        (0.6, 1.0),
        "smallest and largest share of the symbols, one stretch of them, that the view shows",
        above=0,
        max=1,
    )
    mask_share: float = setting(
        0.15, "share of those that become the mask symbol; one of them at least", min=0, below=1
    )
    replace_share: float = setting(0.05, "share of those that become a random symbol of the vocabulary", min=0, below=1)

    def __post_init__(self) -> None:
        low, high = self.kept_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"kept_share={self.kept_share} is not 0 < low <= high <= 1")
        for name in ("mask_share", "replace_share"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 <= {name} < 1")


@dataclass(frozen=True, kw_only=True)
class SymbolPairConfig:
    """Two views alike."""

    change: SymbolChange = field(default=SymbolChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class SymbolWeakStrongConfig:
    """A view that shows nearly everything, and one that shows much less."""

    weak: SymbolChange = field(
        default=SymbolChange(kept_share=(0.95, 1.0), mask_share=0.05, replace_share=0.0),
        metadata={"help": "changes of the weak view"},
    )
    strong: SymbolChange = field(
        default=SymbolChange(kept_share=(0.4, 0.8), mask_share=0.25, replace_share=0.1),
        metadata={"help": "changes of the strong view"},
    )
