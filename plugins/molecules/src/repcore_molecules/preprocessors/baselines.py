"""Raw-input features that every probe shows beside the encoder's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.smiles.features import ecfp4 as fingerprints
from repcore_molecules.smiles.features import symbol_counts as counts_of
from repcore_molecules.tokenisation.symbols import count_symbols
from repcore_molecules.tokenisation.vocabulary import SymbolVocabulary


def symbol_counts(preprocessor: SelfiesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """How often each SELFIES symbol occurs, float32 (N, symbols); NaN rows where there is no SELFIES."""
    texts = [_selfies(preprocessor, sample) for sample in samples]
    vocabulary = SymbolVocabulary.from_counts(count_symbols(text for text in texts if text is not None))
    table = counts_of([text or "" for text in texts], vocabulary)
    table[[text is None for text in texts]] = np.nan
    return table


def ecfp4(preprocessor: SelfiesPreprocessor, samples: Iterable[Sample]) -> np.ndarray:
    """1,024-bit Morgan fingerprints of radius 2, float32 (N, 1024); NaN rows for unreadable molecules."""
    return fingerprints([preprocessor.converted(sample.inputs).canonical or "?" for sample in samples])


def _selfies(preprocessor: SelfiesPreprocessor, sample: Sample) -> str | None:
    try:
        return preprocessor.selfies_of(sample)
    except ItemError:
        return None
