"""Views of molecules: what of the symbols changes, and what must not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from repcore.interfaces import Item
from repcore_molecules.configs.views import SymbolChange
from repcore_molecules.tokenisation.symbols import SymbolTokeniser
from repcore_molecules.tokenisation.vocabulary import SymbolVocabulary
from repcore_molecules.views.symbols import changed_symbols

TOKENISER = SymbolTokeniser(SymbolVocabulary(tuple(f"[{one}]" for one in "ABCDEFGHIJKL")))
PREPROCESSOR = SimpleNamespace(tokeniser=TOKENISER)
BEGIN, END, MASK = (TOKENISER.special_ids[one] for one in ("<s>", "</s>", "<mask>"))


def item_of(symbols: int) -> Item:
    ids = np.asarray([BEGIN, *(5 + np.arange(symbols) % 12), END], np.int32)
    return Item(ids, {"tokens": len(ids)})


def view(item: Item, seed: int, **change: object) -> np.ndarray:
    made = changed_symbols(
        item,
        np.random.default_rng(seed),
        preprocessor=PREPROCESSOR,
        change=SymbolChange(**change),  # type: ignore[arg-type]
    )
    assert made.meta["tokens"] == len(made.values)
    assert made.values.dtype == np.int32
    assert (made.values[0], made.values[-1]) == (BEGIN, END)
    found: np.ndarray = made.values
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_stretch_is_kept_in_order(seed: int) -> None:
    item = item_of(12)
    shown = view(item, seed, kept_share=(0.5, 0.75), mask_share=0.0, replace_share=0.0)[1:-1]
    assert 6 <= len(shown) <= 9
    assert np.array_equal(shown, np.arange(shown[0], shown[0] + len(shown)))


def test_shares_of_masked_and_replaced_symbols() -> None:
    item = item_of(100)
    before = item.values.copy()
    shown = view(item, 3, kept_share=(1.0, 1.0), mask_share=0.2, replace_share=0.1)
    masked = shown == MASK
    assert masked.sum() == 20
    assert 5 <= ((shown != before) & ~masked).sum() <= 10  # a replacement may be the symbol itself
    assert np.isin(shown[~masked][1:-1], np.arange(5, 17)).all()  # never a special symbol in the middle
    assert np.array_equal(item.values, before)


@pytest.mark.parametrize("symbols", [0, 1, 2, 3])
def test_small_molecules_keep_a_symbol(symbols: int) -> None:
    shown = view(item_of(symbols), 1, kept_share=(0.1, 0.2), mask_share=0.9, replace_share=0.9)[1:-1]
    assert len(shown) == min(symbols, 2)
    assert symbols == 0 or (shown != MASK).any()


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kept_share=\(0\.0, 1\.0\)"):
        SymbolChange(kept_share=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"mask_share=1\.0"):
        SymbolChange(mask_share=1.0)
