"""SELFormer against golden numbers: the shared folder, and folders made by an independent slow formula."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from repcore.verification.run import Verdict, verify
from repcore_molecules.verification.selformer import replay
from tests.molecules.selformer_reference import VARIANTS, write_folder

SYSTEM = "molecules/selformer"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("golden")
    return [write_folder(root / f"variant{number}", variant) for number, variant in enumerate(VARIANTS)]


def run(folder: Path) -> Verdict:
    return verify(replay, folder, system=SYSTEM)


@pytest.mark.slow
def test_the_authors_numbers_are_reproduced(shared: Path) -> None:
    verdict = run(shared / "golden" / "selformer")
    assert verdict.ok, verdict.text()
    assert verdict.due == verdict.run == verdict.passed == 11


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_folders_of_other_sizes_seeds_and_vocabularies_pass(made: list[Path], number: int) -> None:
    verdict = run(made[number])
    assert verdict.ok, verdict.text()
    assert verdict.passed == 11


def change_tensor(name: str, file: str = "outputs.safetensors") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / file)
        flat = tensors[name].reshape(-1)
        flat[flat.numel() // 2] += 1 if not flat.is_floating_point() else 0.01
        save_file(tensors, folder / file)

    return change


def drop_tensor(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "outputs.safetensors")
        del tensors[name]
        save_file(tensors, folder / "outputs.safetensors")

    return change


def change_line(field: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = [json.loads(line) for line in (folder / "tokenizer.jsonl").read_text().splitlines()]
        lines[2][field] = [9, *lines[2][field][1:]] if isinstance(lines[2][field], list) else "x"
        (folder / "tokenizer.jsonl").write_text("\n".join(map(json.dumps, lines)))

    return change


def change_manifest(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        edit(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


def move_a_row(folder: Path) -> None:
    splits = json.loads((folder / "scaffold_split.json").read_text())
    splits["own"]["test"].append(splits["own"]["train"].pop())
    (folder / "scaffold_split.json").write_text(json.dumps(splits))


def add_stage(manifest: dict[str, Any]) -> None:
    manifest["stages"].append(
        {"name": "unheard_of", "file": "inputs.safetensors", "fields": ["input_ids"], "compare": {"kind": "exact"}}
    )


ALTERATIONS: dict[str, Callable[[Path], None]] = {
    "position_ids": change_tensor("position_ids"),
    "hidden_states": change_tensor("pretrain_nomask.hidden.1"),
    "mlm_logits": change_tensor("pretrain_mask.logits_at_masked"),
    "losses": change_tensor("finetune_multilabel.loss"),
    "embeddings": change_tensor("embed.masked_mean_batched"),
    "finetune_logits": change_tensor("finetune_binary.logits"),
    "gradients": change_tensor("grad.roberta.encoder.layer.1.attention.self.key.bias"),
    "batch_tokens": change_tensor("special_tokens_mask", "inputs.safetensors"),
    "masking_rule": change_tensor("mlm_labels", "inputs.safetensors"),
    "tokenizer": change_line("slow_w"),
    "scaffold_split": move_a_row,
}


@pytest.mark.parametrize("stage", ALTERATIONS)
def test_one_altered_value_fails_its_stage(made: list[Path], tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made[0], folder)
    ALTERATIONS[stage](folder)
    verdict = run(folder)
    assert not verdict.ok
    assert [one.name for one in verdict.stages if one.status == "failed"] == [stage]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_tensor("pretrain_nomask.hidden.2"), "pretrain_nomask.hidden.2: produced, but not stored"),
        (drop_tensor("embed.cls"), "embed.cls: produced, but not stored"),
        (drop_tensor("position_ids"), "no stored output fits 'position_ids'"),
        (change_manifest(lambda m: m["stages"].pop(3)), "belongs to no stage"),
        (change_manifest(add_stage), "unheard_of: the replay did not produce it"),
        (change_manifest(lambda m: m["config"]["encoder"].update(activation="relu")), "activation='relu'"),
        (change_manifest(lambda m: m["config"]["encoder"].update(attention_heads=4)), "hidden_states"),
        (change_manifest(lambda m: m["config"]["encoder"].update(norm_epsilon=0.1)), "hidden_states"),
        (change_manifest(lambda m: m["config"]["masking"].update(selection_probability=0.4)), "masking_rule"),
    ],
)
def test_missing_parts_and_other_settings_fail(
    made: list[Path], tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made[0], folder)
    change(folder)
    verdict = run(folder)
    assert not verdict.ok
    assert words in verdict.text()


def test_a_weight_under_another_name_is_named(made: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(made[0], folder)
    weights = load_file(folder / "weights.safetensors")
    weights["roberta.encoder.layer.0.attention.self.extra.weight"] = torch.ones(2)
    save_file(weights, folder / "weights.safetensors")
    verdict = run(folder)
    assert not verdict.ok
    assert "attention.self.extra.weight" in verdict.error
    assert verdict.run == 0
