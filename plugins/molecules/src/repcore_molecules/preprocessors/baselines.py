"""Raw-input features that every probe shows beside the encoder's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from repcore.interfaces import Sample
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.features import all_descriptors
from repcore_molecules.smiles.features import ecfp4 as fingerprints
from repcore_molecules.smiles.features import symbol_counts as counts_of
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult
from repcore_molecules.tokenisation.symbols import count_symbols
from repcore_molecules.tokenisation.vocabulary import SymbolVocabulary

UNREADABLE = "?"  # no SMILES: becomes a NaN row


class ReadsMolecules(Protocol):
    """The part of the domain's preprocessors that this module needs."""

    @property
    def smiles_config(self) -> SmilesConfig: ...

    def converted(self, cell: object) -> SmilesResult: ...


def symbol_counts(preprocessor: ReadsMolecules, samples: Iterable[Sample]) -> np.ndarray:
    """How often each SELFIES symbol occurs, float32 (N, symbols); NaN rows where there is no SELFIES."""
    written = SmilesPipeline(replace(preprocessor.smiles_config, canonicalise=False))
    texts = [_selfies(written, preprocessor, sample) for sample in samples]
    vocabulary = SymbolVocabulary.from_counts(count_symbols(text for text in texts if text is not None))
    table = counts_of([text or "" for text in texts], vocabulary)
    table[[text is None for text in texts]] = np.nan
    return table


def ecfp4(preprocessor: ReadsMolecules, samples: Iterable[Sample]) -> np.ndarray:
    """Counts of Morgan environments of radius 2, folded, float32 (N, 2048); NaN rows for unreadable molecules."""
    return fingerprints(_canonical(preprocessor, samples))


def descriptors(preprocessor: ReadsMolecules, samples: Iterable[Sample]) -> np.ndarray:
    """RDKit's list of two-dimensional descriptors, float32 (N, D); NaN rows for unreadable molecules."""
    return all_descriptors(_canonical(preprocessor, samples))


def _canonical(preprocessor: ReadsMolecules, samples: Iterable[Sample]) -> list[str]:
    return [preprocessor.converted(sample.inputs).canonical or UNREADABLE for sample in samples]


def _selfies(written: SmilesPipeline, preprocessor: ReadsMolecules, sample: Sample) -> str | None:
    """SELFIES of the SMILES as written; of the cleaned one where SELFIES refuses that; None where there is neither.

    Counted on the text as written because that is the stronger baseline: a canonical text costs symbol counts 1.5
    kcal/mol on FreeSolv.
    """
    result = written.run(sample.inputs)
    return (result if result.status == "ok" else preprocessor.converted(sample.inputs)).selfies or None
