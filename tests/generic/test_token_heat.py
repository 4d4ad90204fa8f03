"""Values of tokens are drawn on the item by the domain's own renderer, at the place of each token."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from rdkit import Chem

from repcore import registry
from repcore.data.batching import plain_batch
from repcore.data.guard import draw_sample
from repcore.data.readers import open_part
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.errors import ItemError
from repcore.estimation.features import token_places, tokens_of_items
from repcore.estimation.report import HeatDrawing, write_estimator_report
from repcore.interfaces import ReportGroup, ReportItem, ReportSection, Sample
from repcore_molecules.rendering.heat import atom_values, draw_heat
from tests.generic.domains import parts_of


@pytest.mark.parametrize("kind", ["molecules", "atoms", "audio", "graphs", "clouds", "films"])
def test_each_domain_draws_values_of_its_tokens(kind: str, tmp_path: Any) -> None:
    parts = parts_of(kind, "objective=generic/vicreg")
    model = cast(Model, SimpleNamespace(encoder=parts.encoder, preprocessor=parts.preprocessor, domain="x"))
    reader = open_part(parts.resolved.dataset)
    row, options = (
        next(n for n in range(9) if parts.preprocessor.prepare(reader[n])[0].status == "ok"),
        InferenceOptions(),
    )
    item = parts.preprocessor.prepare(reader[row])[0]
    batch = plain_batch(parts.preprocessor, [item], [reader[row]], (), "x")
    with torch.inference_mode():
        count = len(tokens_of_items(model, batch, options)[0])
    places = token_places(model, reader, row, options)
    assert (places is None) == (kind in ("molecules", "atoms", "graphs"))  # those stand in the order of the data
    assert places is None or len(places) == count
    render = parts.resolved.dataset.entry.load("render_heat")
    first, second = (np.eye(count)[place] for place in (1, count // 2))
    drawn = [draw_sample(lambda one, heat=heat: render(one, heat, places), reader[row]) for heat in (first, second)]
    assert drawn[0].html != drawn[1].html
    assert drawn[0].alt
    with pytest.raises(ItemError, match="value"):
        render(reader[row], np.ones(count + 1), places)
    page = tmp_path / "page.html"
    sections = [ReportSection("x", groups=[ReportGroup("", [ReportItem(row, "c", first)])])]
    heat = HeatDrawing(render, lambda one: token_places(model, reader, one, options))
    assert write_estimator_report(page, "t", [], sections, reader, None, heat) == 1
    assert 'class="heat"' not in page.read_text(encoding="utf-8")  # on the item, not as a strip
    write_estimator_report(page, "t", [], sections, reader, None)
    assert 'class="heat"' in page.read_text(encoding="utf-8")


def test_atoms_show_the_values_of_their_symbols() -> None:
    text = "[C][C][=Branch1][C][=O][O]"  # acetic acid: the second C of the text is no atom but a length
    smiles, values = atom_values(text, np.arange(6.0))
    assert smiles == "CC(=O)O"
    assert values.tolist() == [0.0, 1.0, 4.0, 5.0]
    drawn = draw_heat(Sample("a", "CC(=O)O"), np.asarray([9.0, *range(6), 9.0]), None)
    shares = [float(one) for one in re.findall(r'fill-opacity="([\d.]+)"', drawn.html)]
    assert shares == pytest.approx([0.0, 0.17, 0.68, 0.85])
    with pytest.raises(ItemError, match="3 values for 4 atoms, or 6 symbols"):
        draw_heat(Sample("a", "CC(=O)O"), np.ones(3), None)


@pytest.mark.parametrize("text", ["OC(C)=O", "*CC(=O)O", "[Na+].[Cl-]", "C"])
def test_atoms_show_their_own_values_in_canonical_order(text: str) -> None:
    """Of molecules, too, that SELFIES cannot write."""
    canonical = Chem.CanonSmiles(text)
    count = Chem.MolFromSmiles(canonical).GetNumAtoms()
    drawn = draw_heat(Sample("a", text), np.arange(float(count)), None)
    shares = [float(one) for one in re.findall(r'fill-opacity="([\d.]+)"', drawn.html)]
    assert shares == pytest.approx([0.85 * place / max(1, count - 1) for place in range(count)], abs=0.006)
    assert drawn.alt.startswith(f"{canonical}; values of atoms from 0 (pale) to {count - 1} (dark)")
    with pytest.raises(ItemError, match=f"{count + 1} values for {count} atoms, or"):
        draw_heat(Sample("a", text), np.ones(count + 1), None)


def test_readers_of_one_domain_draw_alike() -> None:
    entries = registry.default().entries("dataset")
    drawn = {entry.full_name for entry in entries if entry.spec.render_heat}
    assert {
        "molecules/smiles-table",
        "audio/folder",
        "graphs/tu",
        "pointcloud/shapes",
        "medical3d/radiographs",
    } <= drawn
