"""Labels of the data that a model predicts are read as what the model answers, however few rows there are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from repcore import registry
from repcore.cli.predict import open_with_label
from repcore.data.readers import open_data
from repcore.embedding.opening import open_for
from repcore.specs import TargetSpec


def read_beside(path: Path, target: TargetSpec, **given: object) -> tuple[list[object], str]:
    """Labels of every row in words, and why there are none."""
    model = SimpleNamespace(domain="molecules", target=target)
    model.reader = lambda data, *, reader=None, options=None, labels=(), label_kind="": open_for(
        nn.Identity(), registry.default(), str(data), domain="molecules", preprocessor="molecules/selfies",
        reader=reader, options=options, labels=labels, label_kind=label_kind,
    )  # fmt: skip
    settings = {"data": str(path), "reader": None, "id_column": None, "settings": (), **given}
    found, why = open_with_label(model, settings)  # type: ignore[arg-type]
    own = next((one for one in found.targets if one.name == target.name), None)
    if own is None:
        return [], why
    values = [found[row].targets[own.name] for row in range(len(found))]
    return [own.names[int(one)] if own.kind == "class" else one for one in values], why


def test_few_rows_are_read_as_what_the_model_answers(tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text('smiles,kind,value,yes\nCCO,"b, c",2,1\nCCN,d,1,1\nCCC,e,2,1\n')
    kind = TargetSpec("kind", "class", names=("b, c", "d", "e", "f"))
    assert read_beside(table, kind) == (["b, c", "d", "e"], "")  # three different words in three rows look like texts
    assert read_beside(table, TargetSpec("value", "regression")) == ([2.0, 1.0, 2.0], "")  # looks like classes 1 and 2
    assert read_beside(table, TargetSpec("yes", "class", names=("0", "1"))) == (["1", "1", "1"], "")
    table.write_text("smiles,kind,value\nCCO,d,4.5\n")
    assert read_beside(table, kind) == (["d"], "")  # one row, one class
    assert read_beside(table, TargetSpec("value", "regression")) == ([4.5], "")
    found, why = read_beside(table, TargetSpec("other", "regression"))
    assert found == []
    assert "has no column 'other'" in why


def test_codes_and_several_labels_are_read_as_the_model_answers(tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text("smiles,code,marks,t1\nCCO,00,a,1\nCCN,0,b,1\nCCC,1,a,\n")
    code = TargetSpec("code", "class", names=("0", "00", "1"))
    assert read_beside(table, code) == (["00", "0", "1"], "")
    marks = TargetSpec("marks", "multilabel", names=("a", "b", "c"))
    assert read_beside(table, marks) == ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], "")
    tasks = TargetSpec("all-binary", "multilabel", names=("t0", "t1"))
    found, why = read_beside(table, tasks)  # one of the model's two columns, and 1 alone stands in it
    np.testing.assert_array_equal(np.stack(found), [[np.nan, 1], [np.nan, 1], [np.nan, np.nan]])  # type: ignore[arg-type]
    assert why == ""
    table.write_text("smiles,t1,marks\nCCO,1,a\nCCN,1,b\n")
    assert read_beside(table, TargetSpec("t1", "class", names=("inactive", "active"))) == (["active", "active"], "")
    found, why = read_beside(table, TargetSpec("marks", "regression"))
    assert np.isnan(np.asarray(found, float)).all()


def test_a_reader_that_would_read_every_column_so_is_left_alone(tmp_path: Path) -> None:
    """The reader of edge lists has one setting for all columns: features would become labels."""
    pytest.importorskip("repcore_graphs")
    (tmp_path / "edges.csv").write_text("source,target,weight\na,b,0.5\nb,c,0.25\n")
    part, _ = open_data(
        registry.default(), str(tmp_path / "edges.csv"), domain="graphs",
        preferences={"labels": ["weight"], "label_kind": "class"},
    )  # fmt: skip
    assert part.config.label_kind == "auto"
