"""Settings of the readers and of the SELFIES preprocessor. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore_molecules.configs.smiles import SmilesConfig


@dataclass(frozen=True, kw_only=True)
class MoleculeTableConfig:
    """A table with a column of molecules (CSV, TSV, SMI, parquet) or an SDF, plain or gzipped, or a folder with one."""

    path: str = field(metadata={"help": "file, or folder with one table or with train/valid/test tables"})
    column: str | None = field(
        default=None, metadata={"help": "column with the molecules; found by reading the cells when left out"}
    )
    notation: Literal["auto", "smiles", "inchi", "selfies", "molblock", "mixed"] = field(
        default="auto", metadata={"help": "how the column writes molecules; what most of its cells are by default"}
    )
    id_column: str | None = field(
        default=None, metadata={"help": "column with ids; row numbers (of an SDF its titles) when left out"}
    )
    group: str = field(
        default="auto",
        metadata={
            "help": "what is kept together in splits: a column, molecule (rows of one canonical molecule), empty for "
            "nothing; auto takes a column that is called like one (scaffold, cluster, patient, ...)"
        },
    )
    labels: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "label columns; every column that looks like one when left out. 'all-binary' joins all columns of "
            "0 and 1 into one multilabel target"
        },
    )
    label_kind: Literal["auto", "class", "regression", "multilabel"] = field(
        default="auto", metadata={"help": "what the labels are; guessed from their values by default"}
    )
    label_separator: str = field(
        default="", metadata={"help": "sign between several labels in a cell; found in the cells when empty"}
    )
    uncertain: Literal["auto", "missing", "positive", "negative", "class"] = field(
        default="auto", metadata={"help": "what -1 beside 0 and 1 means"}
    )
    decimal: Literal["auto", "point", "comma"] = field(
        default="auto", metadata={"help": "sign of decimals; found in the cells of the table by default"}
    )
    qualifiers: Literal["apply", "ignore"] = field(
        default="apply",
        metadata={
            "help": "columns beside values that say how they are meant (Standard Relation, Standard Units, Standard "
            "Type): apply = bounds such as > count as missing, several units or quantities are no target; ignore"
        },
    )
    unit: str = field(default="", metadata={"help": "unit of the values that count, where such a column gives several"})
    quantity: str = field(
        default="", metadata={"help": "quantity (IC50, Ki) of the values that count, where such a column gives several"}
    )


@dataclass(frozen=True, kw_only=True)
class NciConfig:
    """The first 4,999 molecules of the NCI set that ships inside RDKit, with RDKit descriptors as labels."""

    descriptors: tuple[str, ...] = field(
        default=("logp", "tpsa", "sp3_fraction"), metadata={"help": "RDKit descriptors used as labels"}
    )


@dataclass(frozen=True, kw_only=True)
class SelfiesConfig:
    """SMILES cleaning, SELFIES and tokenisation."""

    mode: Literal["symbol", "fast", "slow", "bracket"] = field(
        default="symbol",
        metadata={"help": "one id a SELFIES symbol (for training), or one of the three schemes of published weights"},
    )
    vocabulary: str | None = field(
        default=None, metadata={"help": "folder with vocab.json and merges.txt, for the modes other than symbol"}
    )
    max_length: int = field(
        default=512, metadata={"help": "longest sequence, begin and end included", "unit": "tokens", "min": 3}
    )
    deduplicate: bool = field(default=True, metadata={"help": "train on each distinct molecule once"})
    smiles: SmilesConfig = field(default=SmilesConfig(), metadata={"help": "cleaning before SELFIES"})

    def __post_init__(self) -> None:
        if self.max_length < 3:
            raise ValueError(f"max_length={self.max_length} leaves no room between begin and end")
        if self.vocabulary is not None and self.mode == "symbol":
            raise ValueError(f"vocabulary={self.vocabulary} would not be read: mode=symbol finds its own in the data")
