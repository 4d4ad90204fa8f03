"""The domain's own way to split: whole scaffolds on one side."""

from __future__ import annotations

import numpy as np

from repcore.data.split_plans import SplitInputs
from repcore.interfaces import ProbeSplit
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
