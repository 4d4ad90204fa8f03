"""Fine-tuned heads of published files become tasks: written, named, and counted tensor by tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from repcore import registry
from repcore.checkpoints.imported import Imported, ImportedTask, account, task_part
from repcore.checkpoints.keymap import LoadReport
from repcore.cli.importing import class_names
from repcore.errors import CheckpointError, ConfigError
from repcore.evaluation.tasks.configs import ClassificationConfig, RegressionConfig
from repcore.specs import TargetSpec


class Encoder(nn.Module):
    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 4)


def head(outputs: int = 3, **changes: Any) -> ImportedTask:
    state = {"classifier.out_proj.weight": torch.ones(outputs, 4), "classifier.out_proj.bias": torch.arange(outputs)}
    given: dict[str, Any] = {
        "name": "classification", "config": ClassificationConfig(outputs=outputs),
        "target": TargetSpec("class", "class"), "outputs": outputs, "state": state, **changes,
    }  # fmt: skip
    return ImportedTask(**given)


def part(given: ImportedTask, **words: Any) -> Any:
    return task_part(given, Encoder(), registry.default(), "nowhere", **words)


def test_classes_are_named_by_the_user_the_file_or_numbers() -> None:
    assert part(head()).target.names == ("0", "1", "2")
    named = part(head(), label="species", classes=("ant", "bee", "cat"))
    assert (named.target.name, named.target.names) == ("species", ("ant", "bee", "cat"))
    assert part(head(target=TargetSpec("class", "class", names=("a", "b", "c")))).target.names == ("a", "b", "c")
    assert named.module.classifier.out_proj.bias.tolist() == [0, 1, 2]
    assert named.module.weights.tolist() == [1, 1, 1]  # a buffer that no file holds
    with pytest.raises(ConfigError, match=r"2 names of classes .* for a head of 3 outputs"):
        part(head(), classes=("a", "b"))
    with pytest.raises(ConfigError, match="2 different"):
        part(head(), classes=("a", "b", "a"))
    values = head(1, name="regression", config=RegressionConfig(outputs=1), target=TargetSpec("value", "regression"))
    assert part(values, label="logS").target == TargetSpec("logS", "regression")
    with pytest.raises(ConfigError, match="gives regression values"):
        part(values, classes=("a",))


def test_a_parameter_that_the_file_lacks_is_an_error() -> None:
    given = head()
    lacking = {name: value for name, value in given.state.items() if not name.endswith("bias")}
    with pytest.raises(CheckpointError, match=r"out_proj\.bias"):
        part(head(state=lacking))


@pytest.mark.parametrize("prefix", ["encoder.", ""])
def test_every_tensor_of_the_file_is_accounted_for(prefix: str) -> None:
    renamed = {"net.w": f"{prefix}body.weight", "net.b": f"{prefix}body.bias",
               "cls.w": "task.classifier.out_proj.weight", "cls.b": "task.classifier.out_proj.bias",
               "decoder.w": "objective.decoder.weight"}  # fmt: skip
    found: dict[str, Any] = {
        "encoder_config": None, "state": Encoder().state_dict(),
        "report": LoadReport("file", "net", renamed, {"step": "a counter"}, {"decoder.copy": "decoder.w"}),
    }  # fmt: skip
    report = account(Imported(**found, task=head()))
    assert report.unwritten == {"decoder.w": "of another part than encoder and task"}
    assert (report.total, report.written) == (7, 4)
    assert report.to_json()["written"] == 4
    assert "not written: 1 (decoder.w)" in report.text()
    found["report"] = LoadReport("file", "net", renamed, {"step": "a counter"}, {"decoder.copy": "decoder.w"})
    report = account(Imported(**found, task_missing="say what it is"))
    assert report.unwritten["cls.w"] == report.unwritten["cls.b"] == "say what it is"
    assert report.written == 2


def test_class_names_come_from_a_file_or_from_the_command(tmp_path: Any) -> None:
    (tmp_path / "names.txt").write_text("yes, really\nno\n")
    assert class_names(str(tmp_path / "names.txt")) == ("yes, really", "no")
    assert class_names("a, b,c") == ("a", "b", "c")
    assert class_names(None) == ()
    with pytest.raises(ConfigError, match="empty name"):
        class_names("a,,b")
