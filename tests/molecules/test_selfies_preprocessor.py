"""From SMILES to batches: vocabulary from training rows, published modes, truncation, saving, prepared data."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import selfies
import torch

from repcore.data.preparation import run_preparation
from repcore.embedding.model import ListReader
from repcore.errors import CheckpointError, ConfigError, DataError, ItemError, RunError
from repcore.interfaces import Sample
from repcore_molecules.configs.data import MoleculeTableConfig, SelfiesConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.datasets.tables import MoleculeTable
from repcore_molecules.preprocessors.prepared import PreparedMolecules, PreparedSymbols, SelfiesPreparation
from repcore_molecules.preprocessors.selfies import TOKENISER_FILE, SelfiesPreprocessor
from tests.molecules.conftest import WriteTable

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", " OCC ", "C1CC", None, "CCO", "CC#N"]


def fitted(texts: list[Any] = SMILES, **settings: Any) -> SelfiesPreprocessor:
    preprocessor = SelfiesPreprocessor(SelfiesConfig(**settings))
    preprocessor.fit(ListReader(texts), range(len(texts)))
    return preprocessor


def prepared(texts: list[Any], workers: int = 0, **settings: Any) -> PreparedMolecules:
    preparation = SelfiesPreprocessor(SelfiesConfig(**settings)).preparation(workers)
    found = run_preparation(preparation, ListReader(texts), lambda done, total: None, workers=workers)
    assert isinstance(found, PreparedMolecules)
    return found


def vocabulary_folder(folder: Path) -> Path:
    """A small byte-pair vocabulary: C=5, =6, O=7, [ and ] without ids, and the merge =O=8."""
    tokens = ["<unk>", "<s>", "</s>", "<pad>", "<mask>", "C", "=", "O", "=O"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n= O\n")
    return folder


def test_vocabulary_comes_from_the_rows_it_is_fitted_on() -> None:
    preprocessor = SelfiesPreprocessor(SelfiesConfig())
    preprocessor.fit(ListReader(SMILES), [0, 4, 5])  # ethanol and two rows that cannot be used
    texts = ("<unk>", "<s>", "</s>", "<pad>", "<mask>", "[C]", "[O]")
    assert preprocessor.facts() == {"vocabulary_size": 7, "token_count": 7, "token_texts": texts}
    (item,) = preprocessor.prepare(Sample("0", "CCO"))
    assert item.values.tolist() == [1, 5, 5, 6, 2]
    (other,) = preprocessor.prepare(Sample("0", "CC#N"))
    assert (other.status, other.reason) == ("unknown_symbols", "1 symbols are not in the model's vocabulary")
    with pytest.raises(DataError, match="none of the training rows"):
        preprocessor.fit(ListReader(SMILES), [4, 5])


def test_unusable_rows_raise_item_errors() -> None:
    preprocessor = fitted()
    for cell, status in (("C1CC", "invalid_smiles"), (None, "empty"), (float("nan"), "empty"), (3, "invalid_smiles"),
                         ("C" * 10_001, "invalid_smiles"), ("*C", "selfies_failed")):  # fmt: skip
        with pytest.raises(ItemError) as caught:
            preprocessor.prepare(Sample("0", cell))
        assert caught.value.status == status


def test_batches_are_padded_on_the_right_and_masked() -> None:
    preprocessor = fitted()
    items = [preprocessor.prepare(Sample("", text))[0] for text in ("CCO", "CC(=O)O")]
    assert [preprocessor.cost(item.meta) for item in items] == [5, 8]
    batch = preprocessor.collate(items)
    assert batch.size == 2
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    assert ids.shape == (2, 8)
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [5, 8]
    assert (ids[~mask] == 3).all()
    assert ids[0, :5].tolist() == items[0].values.tolist()


def test_long_molecules_are_cut_before_the_end_token_and_say_so() -> None:
    preprocessor = fitted(["C" * 30], max_length=10)
    (whole,) = preprocessor.prepare(Sample("", "C" * 8))
    assert (whole.status, len(whole.values)) == ("ok", 10)
    (cut,) = preprocessor.prepare(Sample("", "C" * 30))
    assert cut.values.tolist() == [1, *[5] * 8, 2]
    assert (cut.status, cut.reason) == ("truncated", "32 tokens, more than max_length=10")
    (both,) = preprocessor.prepare(Sample("", "C" * 30 + "N"))
    assert both.status == "truncated"
    assert "1 symbols are not in" in both.reason
    with pytest.raises(ValueError, match="max_length=2"):
        SelfiesConfig(max_length=2)


def test_the_longest_molecule_fits_the_encoder_of_every_preset() -> None:
    from repcore_molecules.encoders.selformer import longest_sequence
    from repcore_molecules.recipes.selformer import paper, paper_lite, tiny

    for preset in (tiny, paper, paper_lite):
        run = preset()
        assert run.preprocessor.config.max_length <= longest_sequence(run.encoder.config)
        assert longest_sequence(run.encoder.config) >= SelfiesConfig().max_length


def test_published_modes_from_a_folder(tmp_path: Path) -> None:
    folder = vocabulary_folder(tmp_path / "v")
    ids = {}
    for mode in ("fast", "slow", "bracket"):
        preprocessor = SelfiesPreprocessor(SelfiesConfig(mode=mode, vocabulary=str(folder)))  # type: ignore[arg-type]
        preprocessor.fit(ListReader(SMILES), range(3))
        assert preprocessor.facts()["vocabulary_size"] == 9
        (item,) = preprocessor.prepare(Sample("", "CC=O"))  # [C][C][=O]
        ids[mode] = item.values.tolist()
    # `fast` sees = and O as runs of different classes, so that the merge never applies; `slow` keeps each bracket
    assert ids["fast"] == [1, 5, 5, 6, 7, 2]
    assert ids["slow"] == [1, 0, 5, 0, 0, 5, 0, 0, 6, 7, 0, 2]
    assert ids["bracket"] == [1, 5, 5, 8, 2]
    with pytest.raises(ConfigError, match="mode=fast needs the vocabulary"):
        SelfiesPreprocessor(SelfiesConfig(mode="fast")).fit(ListReader(SMILES), range(3))
    with pytest.raises(CheckpointError, match=r"no vocab.json"):
        SelfiesPreprocessor(SelfiesConfig(mode="fast", vocabulary=str(tmp_path)))


@pytest.mark.parametrize("mode", ["symbol", "fast"])
def test_saved_preprocessors_need_no_other_file(mode: Any, tmp_path: Path) -> None:
    folder = vocabulary_folder(tmp_path / "v")
    config = SelfiesConfig(mode=mode, vocabulary=str(folder) if mode == "fast" else None)
    first = SelfiesPreprocessor(config)
    first.fit(ListReader(SMILES), range(len(SMILES)))
    state = first.save(tmp_path)
    assert state == {"mode": mode, "tokens": first.tokeniser.size, "selfies": selfies.__version__}
    (folder / "vocab.json").unlink()
    again = SelfiesPreprocessor.load(config, tmp_path)
    for text in ("CCO", "CC(=O)OCC", "c1ccccc1"):
        assert again.prepare(Sample("", text))[0].values.tolist() == first.prepare(Sample("", text))[0].values.tolist()
    other = SelfiesConfig(mode="bracket")
    with pytest.raises(CheckpointError, match=f"made with mode={mode}, the settings say mode=bracket"):
        SelfiesPreprocessor.load(other, tmp_path)


def test_damaged_saves_and_unfitted_use(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no tokeniser\.json"):
        SelfiesPreprocessor.load(SelfiesConfig(), tmp_path)
    (tmp_path / TOKENISER_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        SelfiesPreprocessor.load(SelfiesConfig(), tmp_path)
    with pytest.raises(RunError, match="no vocabulary yet"):
        SelfiesPreprocessor(SelfiesConfig()).prepare(Sample("", "CC"))


def test_other_selfies_constraints_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fitted().save(tmp_path)
    SelfiesPreprocessor.load(SelfiesConfig(), tmp_path)
    assert not caplog.records
    saved = json.loads((tmp_path / TOKENISER_FILE).read_text())
    saved["constraints"]["P-1"] = 99
    (tmp_path / TOKENISER_FILE).write_text(json.dumps(saved))
    SelfiesPreprocessor.load(SelfiesConfig(), tmp_path)
    assert "other SELFIES constraints for P-1" in caplog.text


def test_prepared_data_keep_each_molecule_once_and_every_rejection() -> None:
    found = prepared(SMILES)
    assert found.source_rows.tolist() == [0, 1, 2, 7]  # 3 and 6 are ethanol again, 4 and 5 cannot be used
    assert [(one.row, one.status) for one in found.rejected] == [(4, "invalid_smiles"), (5, "empty")]
    assert "4 distinct molecules in 8 rows; 2 rows cannot be used" in found.summary
    texts = [found[place].inputs.text() for place in range(4)]
    assert texts == [selfies.encoder(text) for text in ("CCO", "C1=CC=CC=C1", "CC(=O)O", "CC#N")]
    assert found.costs.tolist() == [5, 10, 8, 5]
    assert [found[place].id for place in range(4)] == ["0", "1", "2", "7"]
    assert found.by_id("7").inputs.text() == texts[3]
    with pytest.raises(DataError, match="'5'"):
        found.by_id("5")
    assert len(prepared(SMILES, deduplicate=False)) == 6


def test_prepared_ids_equal_those_of_the_text() -> None:
    found = prepared(SMILES)
    preprocessor = SelfiesPreprocessor(SelfiesConfig())
    preprocessor.fit(found, [0, 2])  # so that benzene and acetonitrile have unknown symbols
    plain = fitted([SMILES[0], SMILES[2]])
    assert preprocessor.tokeniser.to_json() == plain.tokeniser.to_json()
    for place, row in enumerate(found.source_rows):
        quick, slow = preprocessor.prepare(found[place])[0], plain.prepare(Sample("", SMILES[row]))[0]
        assert quick.values.tolist() == slow.values.tolist()
        assert (quick.status, quick.reason) == (slow.status, slow.reason)


def test_prepared_data_lie_in_mapped_files_and_cross_processes() -> None:
    found = prepared(SMILES)
    owner = found._ids
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    assert isinstance(owner, np.memmap)
    assert found._ids.dtype == np.uint16
    packed = pickle.dumps(found)
    assert len(packed) < 2000  # paths, not data
    again = pickle.loads(packed)
    assert again[1].inputs.text() == found[1].inputs.text()


def test_preparation_is_made_once_and_again_for_other_settings() -> None:
    texts = ["CCO", "CCN", "[Na+].CC(=O)[O-]"]
    first = prepared(texts)
    assert prepared(texts)._folder == first._folder
    salts = prepared(texts, smiles=SmilesConfig(fragments="largest"))
    assert salts._folder != first._folder
    assert "Na" not in salts[2].inputs.text()
    with pytest.raises(DataError, match=r"none of 2 rows holds a usable molecule[\s\S]*ring 1 is not closed \(1\)"):
        prepared(["C1CC", ""])


def test_malformed_rows_are_rejected_with_their_own_reason(write_table: WriteTable) -> None:
    path = write_table("t.csv", {"smiles": ["CCO", "CC"], "y": [0.5, 1.5]})
    path.write_text(path.read_text() + "CCC\n")
    reader = MoleculeTable(MoleculeTableConfig(path=str(path)))
    preparation = SelfiesPreprocessor(SelfiesConfig()).preparation(0)
    found = run_preparation(preparation, reader, lambda done, total: None)
    assert isinstance(found, PreparedMolecules)
    (bad,) = found.rejected
    assert (bad.row, bad.status, bad.reason) == (2, "malformed_row", "1 fields instead of 2")


def test_splits_of_the_data_become_places_of_distinct_molecules(tmp_path: Path, write_table: WriteTable) -> None:
    write_table("s/train.csv", {"smiles": ["CCO", "CCN", "OCC"]})
    write_table("s/test.csv", {"smiles": ["CCO", "CCCl"]})
    reader = MoleculeTable(MoleculeTableConfig(path=str(tmp_path / "s")))
    found = run_preparation(SelfiesPreprocessor(SelfiesConfig()).preparation(0), reader, lambda done, total: None)
    assert found.splits == {"train": [0, 1], "test": [2]}  # ethanol is in train only: nothing leaks


def test_prepared_molecules_keep_their_groups(tmp_path: Path, write_table: WriteTable) -> None:
    """Held-out rows are whole groups: of a molecule of several groups the one of its first row."""
    write_table("t.csv", {"smiles": ["CCO", "CCN", "CCO", "CCCl"], "batch": ["a", "b", "c", ""]})
    reader = MoleculeTable(MoleculeTableConfig(path=str(tmp_path / "t.csv"), group="batch"))
    found = run_preparation(SelfiesPreprocessor(SelfiesConfig()).preparation(0), reader, lambda done, total: None)
    assert isinstance(found, PreparedMolecules)
    assert found.groups == ["a", "b", None]
    bare = MoleculeTable(MoleculeTableConfig(path=str(tmp_path / "t.csv"), labels=()))
    other = run_preparation(SelfiesPreprocessor(SelfiesConfig()).preparation(0), bare, lambda done, total: None)
    assert isinstance(other, PreparedMolecules)
    assert other.groups == (None if bare.groups is None else [bare.groups[row] for row in other.source_rows])


@pytest.mark.parametrize("deduplicate", [True, False])
@pytest.mark.parametrize(("rows", "workers"), [(1, 0), (3, 0), (4, 2)])
def test_blocks_of_any_size_give_the_same_files(
    rows: int, workers: int, deduplicate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A molecule that comes again in a later block is the first one's, and so are the numbers of its symbols."""
    texts = [*SMILES, "CCCC", "BrCC#N", "C1CC", "c1ccccc1", "CCBr", "CC#N"]
    one = prepared(texts, deduplicate=deduplicate)
    monkeypatch.setenv("REPCORE_CACHE", f"{one._folder}-other")
    monkeypatch.setattr(SelfiesPreparation, "least_rows", rows)
    many = prepared(texts, workers=workers, deduplicate=deduplicate)
    assert many._folder != one._folder
    usable = [0, 1, 2, 3, 6, 7, 8, 9, 11, 12, 13]
    assert many.source_rows.tolist() == ([0, 1, 2, 7, 8, 9, 12] if deduplicate else usable)
    names = sorted(path.name for path in one._folder.iterdir())
    assert sorted(path.name for path in many._folder.iterdir()) == names
    for name in names:
        assert (many._folder / name).read_bytes() == (one._folder / name).read_bytes(), name


def test_numbers_of_a_prepared_sample_are_a_text() -> None:
    assert PreparedSymbols(np.asarray([1, 0, 1], np.uint16), ("[C]", "[O]")).text() == "[O][C][O]"
