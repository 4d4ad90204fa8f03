"""Views ``molecules/symbol-pair`` and ``molecules/symbol-weak-strong``: sub-structures with hidden and swapped symbols.

Another SMILES of the same molecule is no view here: canonicalisation undoes it before anything is learned. So views
change the prepared tokens: one stretch of the molecule is kept (SELFIES give a molecule for any stretch of symbols),
some of it is masked, some replaced. Begin and end stay in place, and nothing is converted again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.interfaces import Item
from repcore_molecules.configs.views import SymbolChange
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor


class SymbolViews(ChangedViews):
    """Views of one molecule: int32 token ids (T,) each. A molecule of one symbol is shown as it is."""

    preprocessor: SelfiesPreprocessor

    def change(self, settings: SymbolChange) -> Change:
        return partial(changed_symbols, preprocessor=self.preprocessor, change=settings)


class SymbolPair(SymbolViews, ChangedPair):
    """Settings: :class:`SymbolPairConfig`."""


class SymbolWeakStrong(SymbolViews, ChangedWeakStrong):
    """Settings: :class:`SymbolWeakStrongConfig`."""


def changed_symbols(
    item: Item, generator: np.random.Generator, *, preprocessor: SelfiesPreprocessor, change: SymbolChange
) -> Item:
    """A stretch of the item's symbols, some masked and some replaced, between the same begin and end.

    At least one symbol is masked where a share is asked for, and at least one is left as it was.
    """
    ids = np.asarray(item.values)
    count = len(ids) - 2
    if count < 2:
        return item
    kept = max(2, round(count * generator.uniform(*change.kept_share)))
    first = int(generator.integers(count - kept + 1))
    inner = ids[1 + first : 1 + first + kept].copy()
    order = generator.permutation(kept)
    masked = min(kept - 1, max(1, round(kept * change.mask_share))) if change.mask_share > 0 else 0
    swapped = min(kept - masked - 1, round(kept * change.replace_share))
    tokeniser = preprocessor.tokeniser
    special = tokeniser.special_ids
    ordinary = np.setdiff1d(np.arange(tokeniser.size), np.asarray(list(special.values())))
    inner[order[:masked]] = special["<mask>"]
    if swapped and len(ordinary):
        inner[order[masked : masked + swapped]] = generator.choice(ordinary, swapped)
    changed = np.concatenate([ids[:1], inner, ids[-1:]]).astype(ids.dtype)
    return replace(item, values=changed, meta={**item.meta, "tokens": len(changed)})
