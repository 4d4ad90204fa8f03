"""Our SELFIES encoder against the `selfies` library, symbol by symbol."""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import selfies
from rdkit import Chem, RDConfig
from rdkit.rdBase import BlockLogs

from repcore_molecules.smiles.kekulise import place_double_bonds
from repcore_molecules.smiles.selfies_encoder import SelfiesEncoder

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "molecules"


@pytest.fixture(scope="module", autouse=True)
def silence() -> Iterator[None]:
    block = BlockLogs()
    yield
    del block


HAND_PICKED = [
    "C",
    "[H][H]",
    "[2H]O[2H]",
    "[13CH4]",
    "[CH3]",
    "[C]",
    "[Na+].[Cl-]",
    "C/C=C/C",
    "C/C=C\\C",
    "F/C(Cl)=C(/Br)I",
    "N[C@@H](C)C(=O)O",
    "C[C@]12CCCC[C@@H]1CCCC2",
    "C[C@@]1(F)CC[C@H](O)CC1",
    "O[C@H]1C[C@@]2(C)CC[C@]1(C)C2",
    "C1CC2CCC1C2",
    "c1ccc2ccccc2c1",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "c1ccc(-c2ccccc2)cc1",
    "O=c1cc[nH]c(=O)[nH]1",
    "c1ccoc1",
    "c1ccsc1",
    "c1cc[nH]c1",
    "c1cnc2[nH]cnc2c1",
    "C[n+]1ccccc1",
    "[O-][n+]1ccccc1",
    "c1cc[se]c1",
    "c1ccpcc1",
    "O=S(=O)(O)O",
    "C[N+](=O)[O-]",
    "C#N",
    "[C-]#[O+]",
    "[NH4+]",
    "CC(C)(C)C",
    "OB(O)c1ccccc1",
    "c1ccc2c(c1)Cc1ccccc1-2",
    "C1CCCCCCCCCCCCCCCCCCCCC1",
    "C1=C/CCCCCC/1",
    "C(=C/1CCCCC\\1)\\C",
    "[Fe+2].[CH-]1C=CC=C1",
    "CP(=O)(O)O",
    "c1ccc2c(c1)-c1cccc3cccc-2c13",
    "c1cc2ccc3cccc4ccc(c1)c2c34",
    "[cH-]1cccc1",
    "c1cc[o+]cc1",
    "O=[N+]([O-])c1ccccc1",
    "[SH2+]C",
    "[CH2-][n+]1ccccc1",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "[Pt](Cl)(Cl)(N)N",
    "CC(C)=C(C)C#CC=C=C",
    "[13C@@H](F)(Cl)Br",
]


def both(smiles: str, *, strict: bool = True) -> tuple[str | None, str | None]:
    """(library's text, ours), None for a refusal."""
    try:
        expected: str | None = selfies.encoder(smiles, strict=strict)
    except selfies.EncoderError:
        expected = None
    try:
        found: str | None = ENCODERS[strict].encode(smiles)
    except selfies.EncoderError:
        found = None
    return expected, found


ENCODERS = {True: SelfiesEncoder(), False: SelfiesEncoder(strict=False)}


def embedded_smiles(count: int) -> list[str]:
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    lines = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return random.Random(1).sample(lines, count)


@pytest.mark.parametrize("smiles", HAND_PICKED)
def test_hand_picked_molecules(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    assert mol is not None
    texts = {smiles, Chem.MolToSmiles(mol)}
    texts |= {Chem.MolToSmiles(mol, doRandom=True) for _ in range(5)}
    for text in texts:
        expected, found = both(text)
        assert found == expected, text


def test_embedded_molecules_as_written_and_canonical() -> None:
    for smiles in embedded_smiles(1000):
        mol = Chem.MolFromSmiles(smiles)
        for text in (smiles, *([] if mol is None else [Chem.MolToSmiles(mol), Chem.MolToSmiles(mol, doRandom=True)])):
            expected, found = both(text)
            assert found == expected, text


def test_random_changes_keep_the_two_equal() -> None:
    generator = random.Random(7)
    compared = refused = 0
    for smiles in embedded_smiles(700):
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            continue
        try:
            text = Chem.MolToSmiles(change(Chem.RWMol(mol), generator))
        except (ValueError, RuntimeError):
            continue
        strict = generator.random() < 0.7
        expected, found = both(text, strict=strict)
        assert found == expected, text
        compared += 1
        refused += expected is None
    assert compared > 500
    assert 0 < refused < compared


def change(mol: Chem.RWMol, generator: random.Random) -> Chem.RWMol:
    """One to three random edits: element, charge, isotope, chirality, radical, bond order, ring bond."""
    for _ in range(generator.randint(1, 3)):
        atom = generator.choice(list(mol.GetAtoms()))
        other = generator.randrange(mol.GetNumAtoms())
        match generator.randrange(7):
            case 0:
                atom.SetAtomicNum(generator.choice([5, 7, 8, 9, 14, 15, 16, 17, 26, 34, 53, 78]))
            case 1:
                atom.SetFormalCharge(generator.choice([-2, -1, 1, 2, 3]))
            case 2:
                atom.SetIsotope(generator.choice([2, 13, 18, 131]))
            case 3:
                tags = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
                atom.SetChiralTag(generator.choice(tags))
            case 4:
                atom.SetNumExplicitHs(generator.randint(0, 3))
                atom.SetNoImplicit(True)
            case 5 if mol.GetNumBonds():
                bond = generator.choice(list(mol.GetBonds()))
                bond.SetBondType(generator.choice([Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE]))
            case 6 if other != atom.GetIdx() and mol.GetBondBetweenAtoms(atom.GetIdx(), other) is None:
                mol.AddBond(atom.GetIdx(), other, Chem.BondType.SINGLE)
    return mol


def test_damaged_texts_that_rdkit_can_parse() -> None:
    generator = random.Random(11)
    signs = "CNOcno()[]=#/\\@+-123%.HBrl"
    compared = 0
    for smiles in embedded_smiles(1500):
        text = list(smiles)
        text[generator.randrange(len(text))] = generator.choice(signs)
        damaged = "".join(text)
        if Chem.MolFromSmiles(damaged, sanitize=False) is None:
            continue
        expected, found = both(damaged)
        assert found == expected, damaged
        compared += 1
    assert compared > 300


@pytest.mark.parametrize("smiles", ["", "*C", "C~C", "[CH4]->[Fe]", "FI(F)F", "C$C", "O=N(=O)C", "C(", "C1CC", "C C"])
def test_refusals_are_the_library_s(smiles: str) -> None:
    expected, found = both(smiles)
    assert expected is None
    assert found is None


def test_long_chains_and_deep_branches() -> None:
    chain = "C" * 6000
    nested = "C(" * 300 + "O" + ")N" * 300
    for text in (chain, nested):
        quick = ENCODERS[True].encode_quickly(text)
        assert quick is not None
        assert selfies.len_selfies(quick) >= len(text) // 2
    short = "C(" * 40 + "O" + ")N" * 40
    assert both(short)[0] == both(short)[1]
    assert both("CC1" + "C" * 300 + "C1")[0] == both("CC1" + "C" * 300 + "C1")[1]  # a ring length with three digits


def test_quick_way_serves_nearly_all_ordinary_molecules() -> None:
    encoder = SelfiesEncoder()
    texts = [Chem.MolToSmiles(mol) for mol in map(Chem.MolFromSmiles, embedded_smiles(400)) if mol is not None]
    served = sum(encoder.encode_quickly(text) is not None for text in texts)
    assert served > 0.97 * len(texts)


def test_double_bonds_of_benzene_and_of_a_system_without_solution() -> None:
    benzene = (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 0, 5)
    assert sorted(place_double_bonds(benzene, ()) or ()) == [0, 2, 4]
    assert place_double_bonds((0, 1, 1, 2, 2, 0), ()) is None
    assert place_double_bonds((0, 1, 1, 2, 2, 0), (1,)) == (2,)


@pytest.mark.skipif(not DATA.is_dir(), reason="shared molecules are not beside the repository")
def test_shared_data_sets() -> None:
    texts: list[str] = []
    for name in ("esol", "freesolv", "bbbp"):
        with (DATA / name / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            texts += [row["smiles"] for row in csv.DictReader(file)]
    count = None if os.environ.get("REPCORE_FULL_CORPUS") else 2500
    with gzip.open(DATA / "corpus50k" / "corpus50k.tsv.gz", "rt", encoding="utf-8") as file:
        texts += [line.split("\t")[0] for line in list(file)[1:][:count]]
    for smiles in texts:
        mol = Chem.MolFromSmiles(smiles)
        if mol is not None:
            text = Chem.MolToSmiles(mol)
            expected, found = both(text)
            assert found == expected, text
