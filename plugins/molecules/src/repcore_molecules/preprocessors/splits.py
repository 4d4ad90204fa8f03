"""The domain's own ways to split: whole scaffolds, or all spellings of a molecule, on one side."""

from __future__ import annotations

import numpy as np

from repcore.data.split_plans import SplitInputs
from repcore.data.splits import group_split
from repcore.interfaces import ProbeSplit
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.pipeline import SmilesPipeline
from repcore_molecules.smiles.scaffolds import balanced_scaffold_split, scaffolds_of

PUBLISHED_SEED = 42


def scaffold(inputs: SplitInputs, seed: int) -> ProbeSplit:
    """Balanced 80/10/10 scaffold split with the published seed, whatever ``seed``: results stay comparable.

    Source: method card of SELFormer, section 5.4 (chemprop 1.5.2's balanced split over RDKit-valid rows).
    """
    return balanced(inputs, PUBLISHED_SEED)


def balanced(inputs: SplitInputs, seed: int) -> ProbeSplit:
    """Balanced 80/10/10 scaffold split drawn from ``seed``; rows without a readable molecule are in no part."""
    texts = [sample.inputs.strip() if isinstance(sample.inputs, str) else "" for sample in inputs.samples]
    scaffolds = [scaffold if text else None for text, scaffold in zip(texts, scaffolds_of(texts), strict=True)]
    split = balanced_scaffold_split(scaffolds, seed=seed)
    return ProbeSplit(
        train=np.asarray(split.train), test=np.asarray(split.test), validation=np.asarray(split.validation)
    )


def molecule(inputs: SplitInputs, seed: int) -> ProbeSplit:
    """Random 80/10/10 split of molecules: rows with the same canonical SMILES, atom maps aside, are on one side.

    A row that cannot be read is a molecule of its own.
    """
    pipeline = SmilesPipeline(SmilesConfig())
    known = [pipeline.run(sample.inputs).canonical or None for sample in inputs.samples]
    return group_split(known, generator=np.random.default_rng(seed))
