"""Molecules as pictures for reports."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import selfies
from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.rdBase import BlockLogs

from repcore.interfaces import Picture, Sample
from repcore_molecules.preprocessors.prepared import PreparedSymbols

WIDTH, HEIGHT = 180, 130
MOST_ATOMS = 250  # beyond that a drawing of this size shows nothing, and its layout takes seconds
SHOWN_CHARACTERS = 120
COLOURS = {"N": "#3050f8", "O": "#e00000", "S": "#b59000", "F": "#0a8a00", "Cl": "#0a8a00", "Br": "#8a2a00"}
_LINES = {1.0: (0.0,), 1.5: (0.0, 1.0), 2.0: (-0.5, 0.5), 3.0: (-1.0, 0.0, 1.0)}  # places across the bond


def draw_molecule(sample: Sample) -> Picture:
    """An SVG of the structure; the text itself where RDKit cannot read it or it is too large to draw."""
    text = _smiles(sample)
    silence = BlockLogs()
    molecule = Chem.MolFromSmiles(text) if text else None
    del silence
    if molecule is None:
        return _as_text(text, "unreadable molecule")
    if molecule.GetNumAtoms() > MOST_ATOMS:
        return _as_text(text, f"molecule of {molecule.GetNumAtoms()} atoms")
    try:
        return Picture(_rdkit_svg(molecule), text)
    except ImportError:  # RDKit's drawing code links X11 libraries that a bare machine lacks
        return Picture(_plain_svg(molecule), text)


def _as_text(text: str, what: str) -> Picture:
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return Picture(f"<code>{escape(shown or 'empty')}</code>", f"{what} {shown}".strip())


def _smiles(sample: Sample) -> str:
    if isinstance(sample.inputs, PreparedSymbols):
        return str(selfies.decoder(sample.inputs.text()))
    return sample.inputs.strip() if isinstance(sample.inputs, str) else ""


def _rdkit_svg(molecule: Chem.Mol) -> str:
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    options: Any = drawer.drawOptions()  # RDKit's stubs mistype its fields
    options.clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    return str(drawer.GetDrawingText()).partition("?>")[2].strip()


def _plain_svg(molecule: Chem.Mol) -> str:
    """Bonds as lines, hetero atoms as letters, from RDKit's 2-D coordinates alone."""
    places = _layout(molecule)
    lines = "".join(_bond(bond, places) for bond in molecule.GetBonds())
    labels = "".join(_label(atom, places) for atom in molecule.GetAtoms())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="11" '
        f'font-family="sans-serif"><g stroke="#333" stroke-width="1.3">{lines}</g>{labels}</svg>'
    )


def drawn_over(molecule: Chem.Mol, behind: Callable[[int, float, float], str], title: str) -> str:
    """SVG of the structure over a mark for each atom: ``behind(atom, x, y)``, in pixels."""
    places = _layout(molecule)
    marks = "".join(behind(number, x, y) for number, (x, y) in enumerate(places))
    lines = "".join(_bond(bond, places) for bond in molecule.GetBonds())
    labels = "".join(_label(atom, places, disc=False) for atom in molecule.GetAtoms())
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="11" '
        f'font-family="sans-serif"><title>{title}</title>{marks}<g stroke="#333" stroke-width="1.3">{lines}</g>'
        f"{labels}</svg>"
    )


def _layout(molecule: Chem.Mol) -> list[tuple[float, float]]:
    """Pixel coordinates of the atoms, y downwards."""
    rdDepictor.Compute2DCoords(molecule)
    positions = molecule.GetConformer().GetPositions()[:, :2]  # (atoms, 2), Angstrom-like units
    low, high = positions.min(0), positions.max(0)
    scale = min((WIDTH - 24) / max(high[0] - low[0], 1e-6), (HEIGHT - 24) / max(high[1] - low[1], 1e-6), 26.0)
    centre = (low + high) / 2
    x = WIDTH / 2 + scale * (positions[:, 0] - centre[0])
    y = HEIGHT / 2 - scale * (positions[:, 1] - centre[1])
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _bond(bond: Any, places: list[tuple[float, float]]) -> str:  # an RDKit bond
    (ax, ay), (bx, by) = places[bond.GetBeginAtomIdx()], places[bond.GetEndAtomIdx()]
    length = max(((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5, 1e-6)
    dx, dy = 2.2 * (by - ay) / length, 2.2 * (ax - bx) / length
    return "".join(
        f'<line x1="{ax + shift * dx:.1f}" y1="{ay + shift * dy:.1f}" '
        f'x2="{bx + shift * dx:.1f}" y2="{by + shift * dy:.1f}"/>'
        for shift in _LINES.get(bond.GetBondTypeAsDouble(), (0.0,))
    )


def _label(atom: Any, places: list[tuple[float, float]], *, disc: bool = True) -> str:  # an RDKit atom
    symbol = atom.GetSymbol()
    if symbol == "C" and atom.GetDegree():
        return ""
    x, y = places[atom.GetIdx()]
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="#fff"/>' if disc else ""
    ) + f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" fill="{COLOURS.get(symbol, "#333")}">{symbol}</text>'
