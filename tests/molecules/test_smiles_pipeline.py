"""One SMILES at a time: every cell gets a status and a reason, and the quick parse changes no result."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import selfies
from rdkit import Chem, RDConfig

from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.pipeline import SmilesPipeline, SmilesResult
from repcore_molecules.smiles.syntax import explain_syntax

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "molecules"


def run(cell: object, config: SmilesConfig | None = None) -> SmilesResult:
    return SmilesPipeline(config or SmilesConfig()).run(cell)


def test_blanks_are_stripped_and_spelling_is_unified() -> None:
    assert run(" OC(C)=O \t") == SmilesResult("ok", "", "CC(=O)O", "[C][C][=Branch1][C][=O][O]")
    assert run("C(C)(=O)O") == run("CC(O)=O")


def test_nitro_as_pentavalent_nitrogen_is_repaired() -> None:
    assert run("CN(=O)=O").canonical == "C[N+](=O)[O-]"


@pytest.mark.parametrize(
    ("cell", "status", "words"),
    [
        (None, "empty", "missing"),
        (float("nan"), "empty", "missing"),
        (np.float32("nan"), "empty", "missing"),
        ("", "empty", "blank"),
        ("  \r\n", "empty", "blank"),
        (3.5, "invalid_smiles", "float '3.5', not text"),
        (b"CC", "invalid_smiles", "bytes"),
        (["CC"], "invalid_smiles", "list"),
        (np.array([1, 2]), "invalid_smiles", "ndarray"),
        ("CC CO", "invalid_smiles", "a blank inside: 'CC' is followed by 'CO'"),
        ("CC\x00", "invalid_smiles", "no SMILES has"),
        ("CCé", "invalid_smiles", "no SMILES has"),
        ("C1CC", "invalid_smiles", "ring 1 is not closed"),
        ("CC(C", "invalid_smiles", "not closed"),
        ("CC)C", "invalid_smiles", "extra ')' at position 3"),
        ("C[C", "invalid_smiles", "bracket '[' is not closed"),
        ("CC]", "invalid_smiles", "bracket ']'"),
        ("aspirin", "invalid_smiles", "no atom that may stand without brackets"),
        ("C(C)(C)(C)(C)C", "invalid_smiles", "valence"),
        ("c1cccc1", "invalid_smiles", "kekulize"),
        ("C(C)(C)(C)(C)[C@H](F)Cl", "invalid_smiles", "valence"),
        ("C1C1", "invalid_smiles", "RDKit cannot read"),
        ("*CC", "selfies_failed", "unrecognized symbol"),
        ("C~C", "selfies_failed", "failed to parse"),
        ("FI(F)F", "selfies_failed", "max. of"),
        ("C" * 10_001, "invalid_smiles", "max_characters=10000"),
    ],
)
def test_every_cell_gets_a_status_and_a_reason(cell: object, status: str, words: str) -> None:
    result = run(cell)
    assert result.status == status
    assert words in result.reason
    assert "\n" not in result.reason
    assert result.selfies == ""


@pytest.mark.parametrize(
    "text", ["C" * 10_000, "C(" * 2400 + "O" + ")C" * 2400, "NC(C)C(=O)" * 990 + "O", "C1CCCCC1" * 1200]
)
def test_ten_thousand_characters_are_handled(text: str) -> None:
    result = run(text)
    assert result.status in ("ok", "selfies_failed")
    assert (result.status == "ok") == bool(result.selfies)


def test_extended_smiles_are_read() -> None:
    assert run("CCO |$a;b;c$|").canonical == "CCO"


def test_cleaning_options() -> None:
    salt = "[Na+].C[C@H](N)C(=O)[O-]"
    assert run(salt, SmilesConfig(fragments="largest")).canonical == "C[C@H](N)C(=O)[O-]"
    assert run(salt, SmilesConfig(fragments="largest", neutralise=True)).canonical == "C[C@H](N)C(=O)O"
    assert run(salt, SmilesConfig(remove_stereo=True)).canonical == "CC(N)C(=O)[O-].[Na+]"
    assert run("[I-].[I-].CC", SmilesConfig(fragments="largest")).canonical == "CC"  # organic before heavy
    assert run("OCC", SmilesConfig(canonicalise=False)).selfies == "[O][C][C]"
    assert run("F/C=C/F", SmilesConfig(remove_stereo=True)).canonical == "FC=CF"
    assert run("[13CH4]", SmilesConfig(remove_stereo=True)).canonical == "[13CH4]"


def test_loose_constraints_on_request() -> None:
    refused = "FI(F)F"
    assert run(refused, SmilesConfig(strict_selfies=False)).status == "ok"


def plain_texts() -> list[str]:
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    texts = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()[:1500] if line.strip()]
    if DATA.is_dir():
        for name in ("esol", "freesolv", "bbbp"):
            with (DATA / name / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                texts += [row["smiles"] for row in csv.DictReader(file)]
    without_marks = [text.replace("@", "").replace("/", "").replace("\\", "") for text in texts]
    return [*texts, *without_marks]


def test_quick_parse_equals_rdkit_s_full_parse() -> None:
    pipeline = SmilesPipeline(SmilesConfig())
    for text in plain_texts():
        mol = Chem.MolFromSmiles(text)
        result = pipeline.run(text)
        assert result.canonical == ("" if mol is None else Chem.MolToSmiles(mol)), text
        if result.status == "ok":
            assert result.selfies == selfies.encoder(result.canonical)


def test_rdkit_is_silent_and_free_to_speak_again(capfd: pytest.CaptureFixture[str]) -> None:
    run("c1cccc1")
    run("C1CC")
    assert capfd.readouterr().err == ""
    Chem.MolFromSmiles("C1CC")
    assert "unclosed ring" in capfd.readouterr().err


def test_syntax_reasons() -> None:
    assert "'£'" in explain_syntax("C£C")
    assert "bracket" in explain_syntax("[C")
    assert explain_syntax("C%12CC") == "ring 12 is not closed"


def test_config_imports_nothing_heavy() -> None:
    code = (
        "import sys; import repcore_molecules.configs.smiles; "
        "print(sorted({'rdkit', 'numpy', 'torch', 'selfies', 'repcore_molecules.configs.smiles'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.split() == ["['repcore_molecules.configs.smiles']"], done.stderr
