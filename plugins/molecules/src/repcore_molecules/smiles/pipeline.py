"""One SMILES through the pipeline: strip blanks and atom maps, parse once, clean as asked, canonical SMILES, SELFIES.

A row never raises: whatever a table cell holds, the answer is a `SmilesResult` with a status and a reason.

Differs from the reference, which drops refused molecules without a word, dies on NaN cells, and encodes what the table
says without canonicalising (method card, section 5.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import selfies
from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.rdBase import BlockLogs

from repcore.data.tables import MISSING_WORDS
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.selfies_encoder import SelfiesEncoder
from repcore_molecules.smiles.syntax import explain_syntax, is_reaction, without_atom_maps

SmilesStatus = Literal["ok", "empty", "invalid_smiles", "selfies_failed"]

# Where these occur, hydrogens must be merged or stereo marks understood: RDKit's full parse. Elsewhere its steps for
# conjugation, hybridisation and stereo, on which the canonical text does not depend then, are left out (a fifth of the
# time). Equality on 50,000 molecules is tested.
_NEEDS_FULL_PARSE = re.compile(r"[@/\\|]|\[\d*H")
_STEPS_WITHOUT_EFFECT = (
    Chem.SanitizeFlags.SANITIZE_SETCONJUGATION
    | Chem.SanitizeFlags.SANITIZE_SETHYBRIDIZATION
    | Chem.SanitizeFlags.SANITIZE_CLEANUPCHIRALITY
    | Chem.SanitizeFlags.SANITIZE_CLEANUPATROPISOMERS
)
_QUICK_STEPS = int(Chem.SanitizeFlags.SANITIZE_ALL) & ~int(_STEPS_WITHOUT_EFFECT)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SmilesResult:
    """What became of one SMILES.

    Attributes:
        status: ``ok``; ``empty`` (no text in the cell), ``invalid_smiles`` (RDKit cannot read it), ``selfies_failed``
            (SELFIES cannot show it).
        reason: for a person; empty when ok.
        canonical: canonical SMILES after cleaning (the cleaned text as written if not canonicalised); also given with
            ``selfies_failed``, else empty.
        selfies: empty unless ok, and where the pipeline makes none.
    """

    status: SmilesStatus
    reason: str = ""
    canonical: str = ""
    selfies: str = ""


class SmilesPipeline:
    """SMILES to `SmilesResult` by a `SmilesConfig`; one object per process, reused for all molecules.

    RDKit's log is silent meanwhile. Cost: about 200 us for a drug-like molecule, nearly all of it RDKit's.

    Args:
        config: cleaning steps.
        selfies: whether results hold SELFIES, too; without them nothing is ``selfies_failed``.

    Example:
        >>> SmilesPipeline(SmilesConfig()).run(" OC(C)=O ").selfies
        '[C][C][=Branch1][C][=O][O]'
    """

    def __init__(self, config: SmilesConfig, *, selfies: bool = True) -> None:
        self.config = config
        self._encoder = SelfiesEncoder(strict=config.strict_selfies) if selfies else None
        self._quick = _unsanitised()
        self._uncharger = rdMolStandardize.Uncharger() if config.neutralise else None
        self._needs_mol = config.fragments != "keep" or config.neutralise or config.remove_stereo

    def run(self, cell: object) -> SmilesResult:
        """The result for one table cell; anything that is no text is reported."""
        if not isinstance(cell, str):
            return refuse_cell(cell)
        text = cell.strip()
        if self.config.atom_maps == "strip":
            text = without_atom_maps(text)
        problem = self._problem_of_text(text)
        if problem is not None:
            return problem
        # Named, so that it lives to the end of the call: logging stays blocked while the object exists.
        silence = BlockLogs()
        try:
            canonical = self._canonical(text)
        except (ValueError, RuntimeError) as error:  # RDKit's on chemistry, and on its own invariants
            return SmilesResult("invalid_smiles", _explain(text, error))
        finally:
            del silence
        if not canonical:
            return SmilesResult("invalid_smiles", _explain(text, None))
        return self._to_selfies(canonical)

    def _problem_of_text(self, text: str) -> SmilesResult | None:
        if not text:
            return SmilesResult("empty", "the cell is blank")
        if text.lower() in MISSING_WORDS:
            return SmilesResult("empty", f"the cell says {text!r}")
        if len(text) > self.config.max_characters:
            reason = f"{len(text)} characters, more than max_characters={self.config.max_characters}"
            return SmilesResult("invalid_smiles", reason)
        if not text.isascii() or _CONTROL.search(text):
            return SmilesResult("invalid_smiles", "a character that no SMILES has")
        if is_reaction(text):  # RDKit reads none as a molecule, and its reason would be about the sign
            return SmilesResult("invalid_smiles", explain_syntax(text))
        words = text.split(None, 1)
        # "CCO |...|" is an extended SMILES, anything else behind a blank would be dropped by RDKit without a word.
        if len(words) > 1 and not words[1].startswith("|"):
            return SmilesResult("invalid_smiles", f"a blank inside: {words[0][:40]!r} is followed by {words[1][:40]!r}")
        return None

    def _canonical(self, text: str) -> str:
        """Canonical SMILES of one text; empty if RDKit cannot read its syntax.

        Raises:
            ValueError, RuntimeError: RDKit refuses the chemistry.
        """
        if self._needs_mol or _NEEDS_FULL_PARSE.search(text):
            mol: Any = Chem.MolFromSmiles(text)  # Any: RDKit's stubs do not know that it gives None
            if mol is None:
                return ""
            if self._needs_mol:
                mol = self._clean(mol)
        else:
            mol = Chem.MolFromSmiles(text, self._quick)
            if mol is None:
                return ""
            Chem.SanitizeMol(mol, _QUICK_STEPS)
            mol.SetIntProp("_StereochemDone", 1)  # there is none; the writer would look for it again
        if self.config.canonicalise:
            return str(Chem.MolToSmiles(mol))
        return str(Chem.MolToSmiles(mol, canonical=False)) if self._needs_mol else text.split(None, 1)[0]

    def _clean(self, mol: Chem.Mol) -> Chem.Mol:
        if self.config.fragments == "largest":
            mol = largest_fragment(mol)
        if self._uncharger is not None:
            mol = self._uncharger.uncharge(mol)
        if self.config.remove_stereo:
            mol = Chem.Mol(mol)
            Chem.RemoveStereochemistry(mol)
        return mol

    def _to_selfies(self, canonical: str) -> SmilesResult:
        if self._encoder is None:
            return SmilesResult("ok", "", canonical)
        try:
            return SmilesResult("ok", "", canonical, self._encoder.encode(canonical))
        except selfies.EncoderError as error:
            return SmilesResult("selfies_failed", _condense(error), canonical)
        except RecursionError:
            return SmilesResult("selfies_failed", "branches are nested too deeply for SELFIES", canonical)


def _unsanitised() -> Any:  # Any: RDKit's stubs mistype these settings
    params: Any = Chem.SmilesParserParams()
    params.sanitize = False
    params.removeHs = False
    params.parseName = False
    params.allowCXSMILES = False
    return params


def largest_fragment(mol: Chem.Mol) -> Chem.Mol:
    """What to keep of a salt or mixture: a fragment with carbon, most heavy atoms, heaviest, first by SMILES."""
    fragments = Chem.GetMolFrags(mol, asMols=True)
    best: Chem.Mol = fragments[0] if len(fragments) == 1 else min(fragments, key=_fragment_rank)
    return best


def _fragment_rank(mol: Chem.Mol) -> tuple[bool, int, float, str]:
    has_no_carbon = all(atom.GetAtomicNum() != 6 for atom in mol.GetAtoms())
    weight = sum(atom.GetMass() for atom in mol.GetAtoms())
    return has_no_carbon, -mol.GetNumHeavyAtoms(), -weight, Chem.MolToSmiles(mol)


def refuse_cell(cell: object) -> SmilesResult:
    """The result for a table cell that holds no text: missing (None, NaN, NA) or of another type."""
    try:
        is_missing = cell is None or bool(cell != cell)  # NaN is the value that differs from itself
    except (TypeError, ValueError):  # a missing value of pandas, or an array
        is_missing = type(cell).__name__ == "NAType"
    if is_missing:
        return SmilesResult("empty", "the cell is missing")
    return SmilesResult("invalid_smiles", f"the cell holds {type(cell).__name__} {str(cell)[:40]!r}, not text")


def _explain(text: str, error: Exception | None) -> str:
    """Why RDKit refused: its own words on chemistry, ours on syntax."""
    if error is None:
        silence = BlockLogs()
        mol = Chem.MolFromSmiles(text.split(None, 1)[0], _unsanitised())
        problems = [] if mol is None else Chem.DetectChemistryProblems(mol)
        del silence
        if not problems:
            return explain_syntax(text)
        return "; ".join(problem.Message().strip() for problem in problems)[:200]
    return " ".join(str(error).split())[:200]


def _condense(error: selfies.EncoderError) -> str:
    """The library's message without the SMILES and line breaks, and its parser's reason where there is one."""
    lines = [line.strip(" \t[]") for line in str(error).splitlines()]
    parts = [line for line in lines if line and not line.startswith(("SMILES:", "Errors:"))]
    cause = getattr(error.__cause__, "reason", "")
    return "; ".join([*parts, str(cause)] if cause else parts)[:200]
