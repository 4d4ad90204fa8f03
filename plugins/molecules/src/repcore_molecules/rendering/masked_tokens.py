"""Hidden tokens of a molecule, and what masked-language modelling puts in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import selfies
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.errors import DataError
from repcore.interfaces import Picture, Sample
from repcore_molecules.rendering.molecules import draw_molecule
from repcore_molecules.tokenisation.symbols import split_symbols
from repcore_molecules.tokenisation.vocabulary import SPECIAL_TOKENS

FRAME = ("<s>", "</s>")
MASK = "<mask>"
MOST_PLACES = 16  # lines of the table; a molecule of 500 tokens would have 75
RIGHT, WRONG, BAR = "#1a7f4b", "#b3261e", "#cfe2f8"
KEY = "Boxed tokens are to be guessed: the model sees ? or the token in the box, which is a random one or the true one."
BOX_STYLE = (
    "box-sizing:border-box;width:100%;padding:.6rem .8rem;background:#fff;color:#111;color-scheme:light;"
    "font-size:.78rem;line-height:1.5;text-align:left;overflow-x:auto"
)
ROW_STYLE = "display:flex;flex-wrap:wrap;gap:.15rem .3rem;font-family:monospace;margin:0 0 .5rem"
CELL_STYLE = "padding:.1rem .3rem;border-bottom:1px solid #ddd;white-space:nowrap"


@dataclass(frozen=True, slots=True)
class HiddenToken:
    """One place that the loss reads.

    Args:
        place: number of the token in its row.
        shown: what the encoder saw there: the mask token, a random token, or the token itself.
        true: the token as written.
        probability: of the true token.
        guesses: the most probable tokens with their probabilities, best first.
    """

    place: int
    shown: str
    true: str
    probability: float
    guesses: tuple[tuple[str, float], ...]

    @property
    def guess(self) -> str:
        """The most probable token."""
        return self.guesses[0][0]

    @property
    def is_right(self) -> bool:
        return self.guess == self.true


def masked_picture(tokens: Sequence[str], hidden: Sequence[HiddenToken]) -> Picture:
    """The row as the encoder saw it, a table of guesses, and the molecule as written and as filled in.

    Args:
        tokens: the whole row as written, frame included.
        hidden: its hidden places, in their order.
    """
    filled = list(tokens)
    for one in hidden:
        filled[one.place] = one.guess
    drawings, outcome = _molecules(_smiles(tokens), _smiles(filled))
    ordinary = sum(token not in SPECIAL_TOKENS for token in tokens)
    right = sum(one.is_right for one in hidden)
    words = f"{len(hidden)} of {ordinary} tokens hidden, {right} guessed right"
    if hidden:
        words += outcome
    html = _row(tokens, hidden) + (_table(hidden) + drawings if hidden else "")
    return Picture(f'<div style="{BOX_STYLE}">{html}</div>', words)


def _row(tokens: Sequence[str], hidden: Sequence[HiddenToken]) -> str:
    """All tokens; hidden ones are boxed, numbered, and show what the encoder saw."""
    marked = {one.place: (number, one) for number, one in enumerate(hidden, 1)}
    parts = []
    for place, token in enumerate(tokens):
        if place not in marked:
            colour = "#767676" if token in FRAME else "#111"
            parts.append(f'<span style="color:{colour}">{escape(token)}</span>')
            continue
        number, one = marked[place]
        colour, sign = (RIGHT, "✓") if one.is_right else (WRONG, "✗")
        seen = "?" if one.shown == MASK else one.shown
        parts.append(
            f'<span style="border:1.5px solid {colour};border-radius:3px;padding:0 .2rem;color:{colour}">'
            f"<sup>{number}</sup>{escape(seen)} {sign}</span>"
        )
    key = f'<p style="margin:0 0 .4rem;color:#555">{KEY}</p>' if hidden else ""
    return f'<div style="{ROW_STYLE}">{"".join(parts)}</div>{key}'


def _table(hidden: Sequence[HiddenToken]) -> str:
    heads = ("", "true token", "", *(f"guess {rank}" for rank in range(1, 1 + len(hidden[0].guesses))))
    lines = [f"<tr>{''.join(f'<th style={CELL_STYLE!r}>{head}</th>' for head in heads)}</tr>"]
    lines += [_line(number, one) for number, one in enumerate(hidden[:MOST_PLACES], 1)]
    left = len(hidden) - MOST_PLACES
    more = f"<p>and {left} more hidden places</p>" if left > 0 else ""
    return f'<table style="width:auto;border-collapse:collapse;font-size:1em">{"".join(lines)}</table>{more}'


def _line(number: int, one: HiddenToken) -> str:
    colour, verdict = (RIGHT, "✓ right") if one.is_right else (WRONG, "✗ wrong")
    cells = [
        _cell(str(number)),
        _cell(f"<b>{escape(one.true)}</b> {_percent(one.probability)}"),
        _cell(verdict, f"color:{colour}"),
        *(_guess(text, chance, text == one.true) for text, chance in one.guesses),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _guess(text: str, chance: float, is_true: bool) -> str:
    words = f"<b>{escape(text)}</b>" if is_true else escape(text)
    bar = f"background:linear-gradient(90deg,{BAR} {chance:.0%},transparent 0)"
    return _cell(f"{words} {_percent(chance)}", bar)


def _percent(chance: float) -> str:
    return "&lt;1%" if chance < 0.005 else f"{chance:.0%}"


def _cell(content: str, style: str = "") -> str:
    return f'<td style="{CELL_STYLE};{style}">{content}</td>'


def _smiles(tokens: Sequence[str]) -> str:
    """SMILES of a row of symbols; empty where it holds anything else, such as a published token or a special one."""
    text = "".join(token for token in tokens if token not in FRAME)
    try:
        split_symbols(text)
        return str(selfies.decoder(text))
    except (DataError, selfies.DecoderError):
        return ""


def _molecules(written: str, filled: str) -> tuple[str, str]:
    """Both drawings side by side, and how the second compares, in words."""
    if not written:
        return "", ""
    if not filled:
        return _drawing("as written", written), "; filled in, the row is no molecule"
    is_same = _canonical(written) == _canonical(filled)
    name = "as filled in by the model" + (": the same molecule" if is_same else "")
    drawings = _drawing("as written", written) + _drawing(name, filled)
    html = f'<div style="display:flex;flex-wrap:wrap;gap:1.5rem;margin-top:.5rem">{drawings}</div>'
    return html, "; filled in, the molecule is " + ("the same" if is_same else "another")


def _drawing(name: str, smiles: str) -> str:
    return f"<div><div>{name}</div>{draw_molecule(Sample('', smiles)).html}</div>"


def _canonical(smiles: str) -> str:
    """The canonical spelling; the text itself where RDKit cannot read it."""
    silence = BlockLogs()
    molecule = Chem.MolFromSmiles(smiles)
    del silence
    return smiles if molecule is None else str(Chem.MolToSmiles(molecule))
