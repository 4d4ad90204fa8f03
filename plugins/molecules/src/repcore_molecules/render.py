"""Molecules as pictures for reports."""

from __future__ import annotations

from html import escape

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.rdBase import BlockLogs

from repcore.interfaces import Picture, Sample
from repcore_molecules.preprocessors.prepared import PreparedSymbols

WIDTH, HEIGHT = 180, 130
COLOURS = {"N": "#3050f8", "O": "#e00000", "S": "#b59000", "F": "#0a8a00", "Cl": "#0a8a00", "Br": "#8a2a00"}


def draw_molecule(sample: Sample) -> Picture:
    """An SVG of the structure; the text itself where RDKit cannot read it."""
    text = _smiles(sample)
    silence = BlockLogs()
    molecule = Chem.MolFromSmiles(text) if text else None
    del silence
    if molecule is None:
        return Picture(f"<code>{escape(text or 'empty')}</code>", f"unreadable molecule {text}")
    try:
        return Picture(_rdkit_svg(molecule), text)
    except ImportError:  # RDKit's drawing code links X11 libraries that a bare machine lacks
        return Picture(_plain_svg(molecule), text)


def _smiles(sample: Sample) -> str:
    if isinstance(sample.inputs, PreparedSymbols):
        import selfies

        return str(selfies.decoder(sample.inputs.text()))
    return str(sample.inputs or "").strip()


def _rdkit_svg(molecule: Chem.Mol) -> str:
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    drawer.drawOptions().clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    return str(drawer.GetDrawingText()).partition("?>")[2].strip()


def _plain_svg(molecule: Chem.Mol) -> str:
    """Bonds as lines, hetero atoms as letters, from RDKit's 2-D coordinates alone."""
    rdDepictor.Compute2DCoords(molecule)
    positions = molecule.GetConformer().GetPositions()[:, :2]
    low, high = positions.min(0), positions.max(0)
    scale = min((WIDTH - 24) / max(high[0] - low[0], 1e-6), (HEIGHT - 24) / max(high[1] - low[1], 1e-6), 26.0)
    centre = (low + high) / 2
    x = WIDTH / 2 + scale * (positions[:, 0] - centre[0])
    y = HEIGHT / 2 - scale * (positions[:, 1] - centre[1])
    parts = []
    for bond in molecule.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        order = 1.5 if bond.GetIsAromatic() else bond.GetBondTypeAsDouble()
        length = max(float(((x[a] - x[b]) ** 2 + (y[a] - y[b]) ** 2) ** 0.5), 1e-6)
        dx, dy = 2.2 * (y[b] - y[a]) / length, 2.2 * (x[a] - x[b]) / length
        for shift in {1.0: (0,), 1.5: (0, 1), 2.0: (-0.5, 0.5), 3.0: (-1, 0, 1)}.get(order, (0,)):
            parts.append(
                f'<line x1="{x[a] + shift * dx:.1f}" y1="{y[a] + shift * dy:.1f}" '
                f'x2="{x[b] + shift * dx:.1f}" y2="{y[b] + shift * dy:.1f}"/>'
            )
    labels = []
    for atom in molecule.GetAtoms():
        symbol = atom.GetSymbol()
        if symbol != "C" or molecule.GetNumAtoms() == 1:
            i, colour = atom.GetIdx(), COLOURS.get(symbol, "#333")
            labels.append(f'<circle cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="6" fill="#fff"/>')
            labels.append(
                f'<text x="{x[i]:.1f}" y="{y[i] + 4:.1f}" text-anchor="middle" fill="{colour}">{symbol}</text>'
            )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="11" '
        f'font-family="sans-serif"><g stroke="#333" stroke-width="1.3">{"".join(parts)}</g>{"".join(labels)}</svg>'
    )
