"""How molecules are cleaned, and SMILES turned into SELFIES. Standard library only: no config imports RDKit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """What is changed of a molecule before anything is made of it. The defaults keep every molecule as it is."""

    fragments: Literal["keep", "largest"] = field(
        default="keep",
        metadata={"help": "keep salts and mixtures whole, or only the largest fragment (one with carbon if any)"},
    )
    neutralise: bool = field(
        default=False, metadata={"help": "add or remove protons so that charges vanish where possible"}
    )
    remove_stereo: bool = field(
        default=False, metadata={"help": "drop chirality and double-bond direction; isotopes stay"}
    )
    max_characters: int = field(
        default=10_000,
        metadata={
            "help": "longer SMILES are reported, not read: RDKit can crash the process on texts far beyond this",
            "unit": "characters",
            "min": 1,
        },
    )


@dataclass(frozen=True, kw_only=True)
class SmilesConfig(CleaningConfig):
    """Steps between a cell of a table and the SELFIES text: atom maps, cleaning, spelling, SELFIES.

    The defaults keep every molecule as it is and only unify its spelling. The reference pipeline does nothing at all
    here and loses 264 of the 1128 ESOL rows to trailing blanks and nitro groups written ``N(=O)=O``.
    """

    atom_maps: Literal["strip", "keep"] = field(
        default="strip",
        metadata={
            "help": "atom-map numbers such as the 1 of [CH3:1] name atoms of a reaction, they are no chemistry: strip "
            "them, or keep them in the text (each mapped atom then is a symbol of its own)"
        },
    )
    canonicalise: bool = field(
        default=True, metadata={"help": "write RDKit's canonical SMILES first, so that one molecule has one text"}
    )
    strict_selfies: bool = field(
        default=True, metadata={"help": "refuse atoms with more bonds than the SELFIES constraint table allows"}
    )
