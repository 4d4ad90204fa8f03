"""Molecules as people store them: the right column in the right notation, every record a row, every guess said.

Kinds K1 to K15 of the field page, for molecules; the inputs are made here.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import selfies
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from repcore.data.inspection import inspect_reader
from repcore.data.misfits import HARDLY
from repcore.data.split_plans import SplitInputs, plan_splits
from repcore.errors import CheckpointError, DataError, ItemError
from repcore.interfaces import Sample
from repcore.reporting import LogReporter
from repcore_molecules.checkpoints.selformer import convert, published_names, sniff
from repcore_molecules.configs.data import MoleculeTableConfig, SelfiesConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.datasets.table_files import sniff_table
from repcore_molecules.datasets.tables import MoleculeTable
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.preprocessors.splits import molecule
from repcore_molecules.smiles.pipeline import SmilesPipeline
from repcore_molecules.smiles.scaffolds import scaffold_of
from tests.molecules.selformer_reference import vocabulary
from tests.molecules.test_selformer_checkpoint import HUGGING_FACE, published, write_vocabulary

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1", "CCCl", "CCBr", "CC#N", "CCC", "Cc1ccncc1"]
LABELS = [f"{0.37 * row - 2:.2f}" for row in range(len(SMILES))]


def opened(path: Path, **settings: Any) -> MoleculeTable:
    return MoleculeTable(MoleculeTableConfig(path=str(path), **settings))


def inchi_of(smiles: str) -> str:
    return str(Chem.MolToInchi(Chem.MolFromSmiles(smiles)))


def written(folder: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def lines(sign: str = ",", header: str = "smiles{}y", labels: list[str] | None = None) -> str:
    rows = [f"{one}{sign}{y}" for one, y in zip(SMILES, labels or LABELS, strict=True)]
    return "\n".join([header.replace("{}", sign), *rows] if header else rows) + "\n"


def said(reader: MoleculeTable) -> str:
    return "\n".join(reader.account.sentences())


def inputs(reader: MoleculeTable) -> list[Any]:
    return [reader[row].inputs for row in range(len(reader))]


# --------------------------------------------------------------------------------------------- table layouts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", lines()),
        ("a.csv", lines("\t")),
        ("a.csv", lines(";")),
        ("a.csv", lines(";", labels=[one.replace(".", ",") for one in LABELS])),
        ("a.csv", lines(" ")),
        ("a.tsv", lines("\t")),
        ("a.csv", "# exported by X\n# on a day\n" + lines()),
        ("a.csv", lines().replace("\n", "\r\n")),
        ("a.csv", lines().replace("\n", ",\n")),
        ("a.csv", "\ufeff" + lines()),
        (
            "a.csv",
            "\n".join(
                [f",{lines().splitlines()[0]}", *(f"{k},{row}" for k, row in enumerate(lines().splitlines()[1:]))]
            ),
        ),
    ],
)
def test_every_layout_gives_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    path = written(tmp_path, text, name)
    assert sniff_table(path) == 0.8
    reader = opened(path)
    assert inputs(reader) == SMILES
    assert [one.name for one in reader.targets] == ["y"]
    assert [reader[row].targets["y"] for row in range(10)] == [float(one) for one in LABELS]
    assert "column 'smiles' as SMILES (100% of the cells tried are molecules)" in said(reader)


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    assert len(opened(written(tmp_path, lines()))) == 10
    assert inputs(opened(written(tmp_path, "smiles,y\nCCO,1.5\nCCN,2.5\n"))) == ["CCO", "CCN"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "smiles,who,y\n" + "".join(f"{one},Éva Ångström,{y}\n" for one, y in zip(SMILES, LABELS, strict=True))
    reader = opened(written(tmp_path, text, encoding=encoding))
    assert inputs(reader) == SMILES
    assert reader.values("who")[3] == "Éva Ångström"
    assert "encoding of a.csv" in said(reader)


@pytest.mark.parametrize(("name", "text"), [("a.csv", lines(header="")), ("a.txt", "\n".join(SMILES) + "\n")])
def test_without_a_header_the_first_row_is_kept(tmp_path: Path, name: str, text: str) -> None:
    reader = opened(written(tmp_path, text, name))
    assert inputs(reader) == SMILES
    assert "header of" in said(reader)
    if name == "a.csv":
        assert [(one.kind, reader[0].targets[one.name]) for one in reader.targets] == [("regression", -2.0)]


@pytest.mark.parametrize(
    ("header", "cells", "column"),
    [
        ("smiles_length,canonical_smiles", [(str(len(one)), one) for one in SMILES], "canonical_smiles"),
        ("smiles,structure", [(f"cpd-{k}", one) for k, one in enumerate(SMILES)], "structure"),
        ("mol,text", [(one, "CCO is ethanol") for one in SMILES], "mol"),
        ("element,thing", [("CNO"[k % 3], one) for k, one in enumerate(SMILES)], "thing"),
        ("smiles,canonical_smiles", [(one, Chem.CanonSmiles(one)) for one in SMILES], "smiles"),
        (
            "isomeric_smiles,smiles,inchi",
            [(one, one, Chem.MolToInchi(Chem.MolFromSmiles(one))) for one in SMILES],
            "smiles",
        ),
    ],
)
def test_the_column_is_chosen_by_its_cells(
    tmp_path: Path, header: str, cells: list[tuple[str, ...]], column: str
) -> None:
    text = header + "\n" + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in cells)
    reader = opened(written(tmp_path, text))
    assert reader.column == column
    assert inputs(reader) == SMILES


def test_two_columns_of_different_molecules_are_refused_with_both_names(tmp_path: Path) -> None:
    rows = "".join(f"{one},{other},{k}.5\n" for k, (one, other) in enumerate(zip(SMILES, SMILES[::-1], strict=True)))
    path = written(tmp_path, "solute_smiles,solvent_smiles,y\n" + rows)
    with pytest.raises(DataError, match=r"'solute_smiles' and 'solvent_smiles' both hold molecules[\s\S]*column=NAME"):
        opened(path)
    assert inputs(opened(path, column="solvent_smiles")) == SMILES[::-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("edges.txt", "0 1\n1 8\n2 15\n3 22\n"),
        ("cloud.txt", "0.1 0.2 0.3\n0.4 0.5 0.6\n"),
        ("prose.txt", "It was the best of times\nin a city of two tales\nno one could say who\n"),
        ("wavs.txt", "data/one.wav\ndata/two.wav\nc/three.wav\n"),
        ("raven.txt", "Selection\tView\tBegin Time (s)\n1\tSpectrogram 1\t0.5\n2\tSpectrogram 1\t1.5\n"),
        ("speakers.csv", "file,speaker,label\na.wav,F,yes\nb.wav,N,no\nc.wav,F,no\n"),
        ("fake.smi", "hello world\nthis is prose\n"),
    ],
)
def test_text_that_is_no_chemistry_is_not_taken(tmp_path: Path, name: str, text: str) -> None:
    assert sniff_table(written(tmp_path, text, name)) <= HARDLY


# ------------------------------------------------------------------------------------------------- notations


def test_inchi_and_selfies_columns(tmp_path: Path) -> None:
    inchi = [Chem.MolToInchi(Chem.MolFromSmiles(one)) for one in SMILES]
    table = "inchi,y\n" + "".join(
        f'"{one}",{y}\n' for one, y in zip([*inchi[:9], "InChI=1S/oops"], LABELS, strict=True)
    )
    reader = opened(written(tmp_path, table))
    assert [Chem.CanonSmiles(reader[row].inputs) for row in range(9)] == [Chem.CanonSmiles(one) for one in SMILES[:9]]
    with pytest.raises(ItemError, match=r"invalid_inchi.*'InChI=1S/oops' is no InChI"):
        _ = reader[9]
    assert reader.cells(8, 10) == [reader[8].inputs, None]
    texts = [selfies.encoder(one) for one in SMILES]
    reader = opened(
        written(tmp_path, "molecule,y\n" + "".join(f"{t},{y}\n" for t, y in zip(texts, LABELS, strict=True)))
    )
    assert reader.molecules.notation == "selfies"
    assert [Chem.CanonSmiles(one) for one in inputs(reader)] == [Chem.CanonSmiles(one) for one in SMILES]
    assert "as SELFIES" in said(reader)
    simple = opened(written(tmp_path, "selfies,y\n[C][C][O],1.5\n[C][C][N],2.5\n"))
    assert inputs(simple) == ["CCO", "CCN"]  # not the chains of bare atoms that SMILES would see


def test_extended_smiles_in_tables_and_smi_files(tmp_path: Path) -> None:
    table = 'id,smiles\nF1,"CCO |$;;OH$|"\nF2,"[CH3] |^1:0|"\nF3,CCN\n'
    assert opened(written(tmp_path, table))[0].inputs == "CCO |$;;OH$|"
    smi = opened(
        written(tmp_path, "CCO |$;;OH$| ethanol\nCCN amine\nC[C@H](F)Cl |&1:1,r|\n", "a.smi"), id_column="name"
    )
    assert [smi.id_of(row) for row in range(3)] == ["ethanol", "amine", "2"]
    assert smi[0].inputs == "CCO |$;;OH$|"
    assert smi.cells(0, 2) == ["CCO |$;;OH$|", "CCN"]
    pipeline = SmilesPipeline(SmilesConfig())
    assert pipeline.run(smi[0].inputs).canonical == "CCO"


def test_names_of_smi_files_are_ids_where_each_is_unique(tmp_path: Path) -> None:
    reader = opened(written(tmp_path, "CCO |$;;OH$| ethanol\nCCN F2\nc1ccccc1\tbenzene ring\n", "a.smi"))
    assert [reader.id_of(row) for row in range(3)] == ["ethanol", "F2", "benzene ring"]
    assert reader.targets == ()
    twice = opened(written(tmp_path, "CCO a\nCCN a\n", "b.smi"))
    assert [twice.id_of(row) for row in range(2)] == ["0", "1"]
    assert reader.describe(reader[1]) == {"heavy atoms": 3, "fragments": 1}


def test_reactions_are_refused_in_words(tmp_path: Path) -> None:
    path = written(tmp_path, "rxn_smiles,y\nCCO>>CC=O,1.5\nCCN.Cl>>CCCl,2.5\nCC>[Pd]>C=C,0.5\n")
    with pytest.raises(DataError, match=r"'rxn_smiles' holds reactions such as 'CCO>>CC=O'"):
        opened(path)
    result = SmilesPipeline(SmilesConfig()).run("CCO>>CC=O")
    assert (result.status, "is a reaction" in result.reason) == ("invalid_smiles", True)
    assert SmilesPipeline(SmilesConfig()).run("[NH3]->[Cu+2]").status == "selfies_failed"  # a dative bond is none


@pytest.mark.parametrize(
    ("cell", "status", "words"),
    [
        ("InChI=1S/CH4/h1H4", "invalid_smiles", "is an InChI, not SMILES"),
        ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "invalid_smiles", "InChIKey"),
        ("[C][=C][Ring1][Branch1]", "invalid_smiles", "is SELFIES"),
        ("nan", "empty", "the cell says 'nan'"),
        ("N/A", "empty", "the cell says 'N/A'"),
        ("CC&gt;O", "invalid_smiles", ""),
        ("C[N+](C)(C)C.[Cl−]", "invalid_smiles", "no SMILES has"),
        ("*CC*", "selfies_failed", "unrecognized symbol '*'"),
        ("C" * 20_000, "invalid_smiles", "max_characters"),
    ],
)
def test_odd_cells_are_rows_with_a_reason(cell: str, status: str, words: str) -> None:
    result = SmilesPipeline(SmilesConfig()).run(cell)
    assert result.status == status
    assert words in result.reason


@pytest.mark.parametrize(
    "text", ["[Fe+2]", "C[CH]C", "[CH2]", "N[Pt](N)(Cl)Cl", "[2H]O[2H]", "[13CH4]", "F[Xe]F", "[H][H]"]
)
def test_metals_radicals_and_isotopes_are_molecules(text: str) -> None:
    assert SmilesPipeline(SmilesConfig()).run(text).status == "ok"


# ------------------------------------------------------------------------------------------------------- SDF


def mol_block(smiles: str, version: int) -> str:
    mol = Chem.MolFromSmiles(smiles)
    AllChem.Compute2DCoords(mol)
    return Chem.MolToV3KMolBlock(mol) if version == 3000 else Chem.MolToMolBlock(mol)


@pytest.mark.parametrize("version", [2000, 3000])
@pytest.mark.parametrize("packed", [False, True])
def test_sdf_records_are_rows_with_properties_as_labels(tmp_path: Path, version: int, packed: bool) -> None:
    chiral = ["C[C@H](N)C(=O)O", *SMILES[1:]]
    blocks = [
        f"M{row}{mol_block(one, version)}>  <logS>  ({row})\n{y}\n\n> <smiles>\nnot this\n\n$$$$\n"
        for row, (one, y) in enumerate(zip(chiral, LABELS, strict=True))
    ]
    blocks[4] = "broken\n  x\n\n  2  1  0 bogus V2000\nM  END\n> <logS>\n7.5\n\n$$$$\n"
    text = "".join(blocks)
    path = tmp_path / ("a.sdf.gz" if packed else "a.sdf")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert sniff_table(path) == 0.95
    reader = opened(path)
    assert len(reader) == 10
    assert reader.id_of(3) == "M3"
    assert reader[0].inputs == "C[C@H](N)C(=O)O"
    assert [one.name for one in reader.targets] == ["logS"]
    assert reader[2].targets["logS"] == float(LABELS[2])
    with pytest.raises(ItemError, match="invalid_mol_block"):
        _ = reader[4]
    assert reader.cells(3, 6) == [Chem.CanonSmiles(SMILES[3]), None, Chem.CanonSmiles(SMILES[5])]
    assert "1 of the rows malformed" in said(reader)


def test_further_columns_of_a_smi_are_read_or_said(tmp_path: Path) -> None:
    rows = [f"{one} n{row} {row}.25" for row, one in enumerate(SMILES)]
    (tmp_path / "a.smi").write_text("\n".join(["SMILES NAME LOGP", *rows]) + "\n")
    reader = opened(tmp_path / "a.smi")
    assert [reader[row].targets["LOGP"] for row in range(3)] == [0.25, 1.25, 2.25]
    assert reader[1].inputs == SMILES[1]
    (tmp_path / "b.smi").write_text("\n".join(rows) + "\n")
    plain = opened(tmp_path / "b.smi")
    assert plain[1].inputs == SMILES[1]
    assert "each line has 3 words; a header such as 'smiles name y' makes columns" in said(plain)


def test_a_property_twice_in_a_record_is_said(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    records = [f"{block}> <logS>\n{row}.5\n\n" for row in range(4)]
    records[2] += "> <logS>\n9.5\n\n"
    (tmp_path / "a.sdf").write_text("$$$$\n".join(records))
    reader = opened(tmp_path / "a.sdf")
    assert [reader[row].targets["logS"] for row in range(4)] == [0.5, 1.5, 9.5, 3.5]
    assert (
        "a.sdf: 1 properties stand more than once in their record, first 'logS' in record 2; the last value counts"
        in reader.account.notes
    )


def test_an_sdf_that_is_cut_off_keeps_its_records(tmp_path: Path) -> None:
    whole = "".join(mol_block(one, 2000) + "$$$$\n" for one in SMILES[:3])
    (tmp_path / "a.sdf").write_text(whole[: len(whole) - 60])
    reader = opened(tmp_path / "a.sdf")
    assert len(reader) == 3
    with pytest.raises(ItemError, match="cut off"):
        _ = reader[2]
    assert [reader.id_of(row) for row in range(3)] == ["0", "1", "2"]  # no titles
    (tmp_path / "b.mol").write_text(mol_block("CCO", 2000))
    assert opened(tmp_path / "b.mol")[0].inputs == "CCO"


# ----------------------------------------------------------------------------------------- labels and groups


@pytest.mark.parametrize(
    ("cells", "kind", "names"),
    [
        (["1", "2"], "class", ("1", "2")),
        (["-1", "1"], "class", ("-1", "1")),
        (["True", "False"], "class", ("False", "True")),
        (["active", "inactive"], "class", ("inactive", "active")),
        (["1.0", "0.0"], "class", ("0", "1")),
        (["low", "mid", "high"], "class", ("high", "low", "mid")),
        (["a|b", "a", "b|c", "c"], "multilabel", ("a", "b", "c")),
        (["1,5", "-2,25", "3,75"], "regression", ()),
    ],
)
def test_kinds_of_label(tmp_path: Path, cells: list[str], kind: str, names: tuple[str, ...]) -> None:
    rows = "".join(f'{SMILES[k % 10]},"{cells[k % len(cells)]}"\n' for k in range(40))
    reader = opened(written(tmp_path, "smiles,y\n" + rows))
    assert [(one.name, one.kind, one.names) for one in reader.targets] == [("y", kind, names)]


@pytest.mark.parametrize(
    ("odd", "looks"),
    [
        (">10", "censored"),
        ("#N/A", "Excel error"),
        ("12 %", "percent"),
        ("1,234", "thousands"),
        ("12_13", "underscore"),
    ],
)
def test_cells_that_are_no_numbers_are_missing_and_named(tmp_path: Path, odd: str, looks: str) -> None:
    rows = "".join(f'{SMILES[k % 10]},"{odd if k % 4 == 0 else 0.5 + 1.25 * k}"\n' for k in range(40))
    reader = opened(written(tmp_path, "smiles,IC50\n" + rows))
    assert [(one.name, one.kind) for one in reader.targets] == [("IC50", "regression")]
    assert math.isnan(reader[0].targets["IC50"])
    assert reader[0].meta["unreadable_labels"] == f"IC50={odd!r}"
    assert reader[1].targets["IC50"] == 1.75
    assert any(f"10 of 40 filled cells look like {looks}" in text for text in reader.account.odd_cells)


def test_columns_never_vanish_without_a_word(tmp_path: Path) -> None:
    rows = "".join(f"M{k},{SMILES[k % 10]},3.5,,{['train', 'test'][k % 2]},s{k % 4},{k}.25\n" for k in range(20))
    reader = opened(written(tmp_path, "mol_id,smiles,const,blank,split,scaffold,y\n" + rows))
    assert [one.name for one in reader.targets] == ["y"]
    for name in ("mol_id", "const", "blank", "split", "scaffold"):
        assert repr(name) in said(reader)
    assert reader.groups is not None
    assert reader[5].group == "s1"


def test_spellings_of_one_molecule_stay_together_on_demand(tmp_path: Path) -> None:
    spellings = [text for one in ("CCO", "OCC", "C(O)C", "[CH3:7]CO") for text in (one,)]
    texts = [*spellings, *(text for text in SMILES[1:] for _ in range(2))]
    path = written(tmp_path, "smiles,y\n" + "".join(f"{text},{k}.5\n" for k, text in enumerate(texts)))
    reader = opened(path, group="molecule")
    assert reader.groups is not None
    assert reader.groups[:4] == ["CCO"] * 4
    samples = [opened(path)[row] for row in range(len(texts))]
    split = SplitInputs(ids=[str(row) for row in range(len(texts))], samples=samples)
    for fold in plan_splits(molecule, split, (0, 1, 2)).folds:
        parts = [set(part.tolist()) for part in (fold[0].train, fold[0].validation, fold[0].test) if part is not None]
        assert sum(map(len, parts)) == len(texts)
        assert sum(bool(part & {0, 1, 2, 3}) for part in parts) == 1


# ------------------------------------------------------------------------------------ atom maps and scaffolds


def mapped(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    return str(Chem.MolToSmiles(mol))


DRUGS = ["Cn1c(CN2CCN(CC2)c3ccc(Cl)cc3)nc4ccccc14", "C[C@H](N)C(=O)O", "O=C(O)c1ccccc1OC(C)=O", "CC(=O)[O-].[Na+]"]


@pytest.mark.parametrize("smiles", DRUGS)
def test_atom_maps_are_stripped_by_default(smiles: str) -> None:
    plain, kept = SmilesPipeline(SmilesConfig()), SmilesPipeline(SmilesConfig(atom_maps="keep"))
    assert ":" in mapped(smiles)
    assert plain.run(mapped(smiles)) == plain.run(smiles)
    assert ":" in kept.run(mapped(smiles)).canonical
    assert scaffold_of(mapped(smiles)) == scaffold_of(smiles)
    as_written = SmilesPipeline(SmilesConfig(canonicalise=False))
    assert ":" not in as_written.run(mapped(smiles)).canonical


def test_mapped_molecules_are_known_symbols_to_a_vocabulary_of_plain_ones() -> None:
    preprocessor = SelfiesPreprocessor(SelfiesConfig())

    class Rows:
        def __getitem__(self, row: int) -> Sample:
            return Sample(str(row), DRUGS[row])

    preprocessor.fit(Rows(), range(len(DRUGS)))  # type: ignore[arg-type]
    plain, with_maps = (preprocessor.prepare(Sample("0", text))[0] for text in (DRUGS[0], mapped(DRUGS[0])))
    assert with_maps.status == "ok"
    assert with_maps.values.tolist() == plain.values.tolist()


# ------------------------------------------------------------------------------------------- import layouts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(HUGGING_FACE))
    write_vocabulary(tmp_path)
    return tmp_path


@pytest.mark.parametrize("wrapper", ["", "model.", "model.model."])
@pytest.mark.parametrize("body", ["roberta.", ""])
def test_bodies_and_prefixes_are_the_same_weights(folder: Path, wrapper: str, body: str) -> None:
    full = published()
    if not body:
        full = {name: value for name, value in full.items() if name.startswith("roberta.")}
    state = {wrapper + (body + name.removeprefix("roberta.") if name.startswith("roberta.") else name): value
             for name, value in full.items()}  # fmt: skip
    assert sniff(frozenset(state)) == (1.0 if body else 0.5)
    assert set(published_names(state).values()) == set(full)
    imported = convert(state, folder, {})
    expected = convert(full, folder, {})
    assert all(torch.equal(imported.state[name], value) for name, value in expected.state.items())
    assert any("names were completed or shortened" in note for note in imported.report.notes) == bool(
        wrapper or not body
    )


def test_a_folder_with_tokenizer_json_alone(folder: Path) -> None:
    plain = convert(published(), folder, {})
    tokens, merges = vocabulary(7)
    special = [token for token in tokens if token.startswith("<")]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens) if t not in special},
             "merges": [line.split(" ") for line in merges]}  # fmt: skip
    added = [{"id": tokens.index(token), "content": token, "special": True} for token in special]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": model}))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    imported = convert(published(), folder, {})
    sample = Sample("0", DRUGS[0])
    assert (
        imported.preprocessor.prepare(sample)[0].values.tolist()
        == plain.preprocessor.prepare(sample)[0].values.tolist()
    )
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": {}}}))
    with pytest.raises(CheckpointError, match="holds no byte-pair vocabulary"):
        convert(published(), folder, {})


def test_canonicalisation_can_be_turned_off_for_parity(folder: Path) -> None:
    assert convert(published(), folder, {}).preprocessor_config.smiles.canonicalise
    parity = convert(published(), folder, {"canonicalise": "false"}).preprocessor
    assert parity.converted("OCC").selfies == "[O][C][C]"
    with pytest.raises(CheckpointError, match=r"canonicalise=maybe is neither on nor off"):
        convert(published(), folder, {"canonicalise": "maybe"})
    with pytest.raises(CheckpointError, match=r"moed=slow does not exist[\s\S]*did you mean: mode"):
        convert(published(), folder, {"moed": "slow"})


# -------------------------------------------------------------------------------------- public sets, unchanged


PUBLIC = {
    "esol": (1128, "logS", -3440.515),
    "freesolv": (642, "dG_hyd_kcal_mol", -2441.53),
    "bbbp": (2050, "p_np", 1567.0),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_keep_rows_and_labels(shared: Path, name: str) -> None:
    rows, target, total = PUBLIC[name]
    path = shared / "data" / "molecules" / name
    if not path.is_dir():
        pytest.skip(f"no {name}")
    reader = opened(path)
    assert (len(reader), [one.name for one in reader.targets]) == (rows, [target])
    labels = np.array([reader[row].targets[target] for row in range(rows)], float)
    assert np.isfinite(labels).all()
    assert labels.sum() == pytest.approx(total, abs=0.005)


def test_a_column_of_parts_declares_the_split_and_leaks_are_named(tmp_path: Path) -> None:
    rows = [f"{'C' * (number + 1)}O,{number / 2},train" for number in range(8)]
    rows += [f"{'C' * (number + 1)}O,{number / 2},Test" for number in range(3)]
    (tmp_path / "a.csv").write_text("smiles,y,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    reader = opened(tmp_path / "a.csv")
    assert {name: list(part) for name, part in reader.splits.items()} == {
        "train": list(range(8)),
        "test": [8, 9, 10],
    }
    found = inspect_reader(reader, None, LogReporter())
    assert any("3 inputs stand in more than one declared split" in one for one in found.warnings)
