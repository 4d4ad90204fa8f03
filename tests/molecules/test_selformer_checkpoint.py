"""Published SELFormer folders: both layouts, settings and vocabulary always from the checkpoint, a full load report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from repcore.checkpoints.reading import read_checkpoint
from repcore.errors import CheckpointError
from repcore.interfaces import Sample
from repcore_molecules.checkpoints.selformer import KEY_MAP, convert, sniff
from repcore_molecules.encoders.selformer import Selformer
from tests.molecules.selformer_reference import VARIANTS, Variant, encode, vocabulary, weights

VARIANT = replace(VARIANTS[0], padding_id=1)
HUGGING_FACE: dict[str, Any] = {
    "model_type": "roberta", "vocab_size": VARIANT.rows, "hidden_size": VARIANT.width,
    "num_hidden_layers": VARIANT.layers, "num_attention_heads": VARIANT.heads,
    "intermediate_size": VARIANT.feed_forward, "max_position_embeddings": VARIANT.positions, "type_vocab_size": 1,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12,
    "initializer_range": 0.02, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip


def published(variant: Variant = VARIANT) -> dict[str, torch.Tensor]:
    state = weights(variant, torch.Generator().manual_seed(5))
    state["roberta.embeddings.position_embeddings.weight"][1] = 0.0  # as in every trained model
    return {name: value for name, value in state.items() if not name.startswith("finetune_")}


def write_vocabulary(folder: Path) -> None:
    tokens, merges = vocabulary(7)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(published(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(HUGGING_FACE))
    write_vocabulary(tmp_path)
    return tmp_path


def load(folder: Path, **options: str) -> Any:
    return convert(read_checkpoint(folder).state, folder, options)


def test_pre_training_layout(folder: Path) -> None:
    imported = load(folder)
    config = imported.encoder_config
    assert (config.layers, config.attention_heads, config.position_padding_id) == (2, 3, 1)
    encoder = Selformer(config).eval()
    encoder.load_state_dict(imported.state)
    assert set(imported.heads) == {"objective"}
    assert set(imported.heads["objective"]) == {
        "dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias",
    }  # fmt: skip
    batch = imported.preprocessor.collate(imported.preprocessor.prepare(Sample(id="0", inputs="CCO")))
    with torch.no_grad():
        ours = encoder(batch).pooled
        expected = encode(published(), batch.inputs["input_ids"], None, VARIANT)[-1].mean(1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)  # tolerance of the golden folder


def test_the_report_accounts_for_every_key(folder: Path) -> None:
    report = load(folder).report
    state = published()
    assert set(report.renamed) | set(report.dropped) | set(report.tied) == set(state)
    assert set(report.dropped) == {"roberta.embeddings.position_ids"}
    assert set(report.tied) == {"lm_head.decoder.weight", "lm_head.decoder.bias"}
    text = report.text()
    tokens, merges = vocabulary(7)
    assert f"vocabulary of {len(tokens)} tokens and {len(merges)} merges; 60 rows" in text
    assert "position row 1 is all zeros" in text


def test_fine_tuned_layout(folder: Path) -> None:
    state = {name: value for name, value in published().items() if not name.startswith("lm_head.")}
    for name, shape in (("dense", (24, 24)), ("out_proj", (2, 24))):
        state |= {f"classifier.{name}.weight": torch.randn(shape), f"classifier.{name}.bias": torch.randn(shape[0])}
    state |= {"roberta.pooler.dense.weight": torch.randn(24, 24), "roberta.pooler.dense.bias": torch.randn(24)}
    torch.save(state, folder / "pytorch_model.bin")
    imported = load(folder)
    assert set(imported.heads) == {"task"}
    assert torch.equal(imported.heads["task"]["out_proj.weight"], state["classifier.out_proj.weight"])
    assert set(imported.report.dropped) >= {"roberta.pooler.dense.weight", "roberta.pooler.dense.bias"}
    Selformer(imported.encoder_config).load_state_dict(imported.state)


def test_safetensors_without_tied_copies(folder: Path) -> None:
    from safetensors.torch import save_file

    state = {name: value for name, value in published().items() if not name.startswith("lm_head.decoder")}
    save_file(state, folder / "model.safetensors")
    assert not load(folder).report.tied


def test_settings_and_vocabulary_are_never_guessed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "config.json").rename(folder / "sizes.json")
    with pytest.raises(CheckpointError, match=r"heads cannot be read from tensors[\s\S]*--from-config FILE"):
        load(folder)
    assert load(folder, from_config=str(folder / "sizes.json")).encoder_config.attention_heads == 3
    (folder / "sizes.json").rename(folder / "config.json")
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"no merges.txt[\s\S]*--vocabulary DIR"):
        load(folder)
    elsewhere = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(elsewhere)
    assert load(folder, vocabulary=str(elsewhere)).preprocessor.tokeniser.size == len(vocabulary(7)[0])


def test_a_model_folder_made_from_it_holds_no_path(folder: Path) -> None:
    imported = load(folder, mode="slow")
    assert imported.preprocessor_config.vocabulary is None
    assert imported.preprocessor_config.mode == "slow"
    assert imported.preprocessor.tokeniser.mode == "slow"
    assert imported.preprocessor_config.max_length == 47  # positions for 47 tokens in this small model
    with pytest.raises(CheckpointError, match="mode=symbol"):
        load(folder, mode="symbol")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": None}, "lacks num_attention_heads"),
        ({"pad_token_id": None}, "lacks pad_token_id"),
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"model_type": "bert"}, "model_type='bert'"),
        ({"num_hidden_layers": 1}, r"16 of \d+ tensors[\s\S]*no place[\s\S]*roberta.encoder.layer.1"),
        ({"num_hidden_layers": 3}, r"lacks 12 tensors[\s\S]*encoder.layers.2"),
        ({"hidden_size": 27}, r"do not fit"),
    ],
)
def test_settings_that_do_not_fit_are_named(folder: Path, change: dict[str, Any], words: str) -> None:
    values = {key: value for key, value in {**HUGGING_FACE, **change}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=words):
        load(folder)


def test_strange_tensors_are_named(folder: Path) -> None:
    state = published()
    torch.save({**state, "roberta.adapter.weight": torch.ones(1)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"1 of \d+ tensors[\s\S]*roberta.adapter.weight"):
        load(folder)
    state["lm_head.decoder.weight"] = state["lm_head.decoder.weight"] + 1
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lm_head.decoder.weight and roberta[\s\S]*differ"):
        load(folder)


def test_a_vocabulary_beyond_the_word_table_is_refused(folder: Path) -> None:
    tokens = [*vocabulary(7)[0], *(f"t{i}" for i in range(40))]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    with pytest.raises(CheckpointError, match=r"but [\s\S]* has 60 word vectors"):
        load(folder)


def test_an_untrained_position_row_is_said(folder: Path) -> None:
    state = published()
    state["roberta.embeddings.position_embeddings.weight"][1] = 1.0
    torch.save(state, folder / "pytorch_model.bin")
    assert "position row 1 is not zero" in load(folder).report.text()


def test_our_weights_go_back_to_the_published_layout(folder: Path) -> None:
    imported = load(folder)
    ours = {f"encoder.{k}": v for k, v in imported.state.items()}
    ours |= {f"head.{k}": v for k, v in imported.heads["objective"].items()}
    back = KEY_MAP.reverse(ours)
    state = {k: v for k, v in published().items() if k != "roberta.embeddings.position_ids"}
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_sniffing_by_key_names() -> None:
    assert sniff(frozenset(published())) == 1.0
    body = frozenset(name for name in published() if name.startswith("roberta."))
    assert sniff(body) == 0.5
    assert sniff(frozenset({"bert.embeddings.word_embeddings.weight"})) == 0.0


def fine_tuned(outputs: int) -> dict[str, torch.Tensor]:
    """A file of the authors' fine-tuning scripts."""
    generator = torch.Generator().manual_seed(outputs)
    state = {name: value for name, value in published().items() if not name.startswith("lm_head.")}
    for name, shape in (("dense", (24, 24)), ("out_proj", (outputs, 24))):
        state[f"classifier.{name}.weight"] = torch.randn(shape, generator=generator)
        state[f"classifier.{name}.bias"] = torch.randn(shape[0], generator=generator)
    return state | {"roberta.pooler.dense.weight": torch.randn(24, 24), "roberta.pooler.dense.bias": torch.randn(24)}


def head_outputs(state: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Dense, tanh, linear on the first token."""
    first = encode(state, ids, None, VARIANT)[-1][:, 0]
    hidden = torch.tanh(first @ state["classifier.dense.weight"].T + state["classifier.dense.bias"])
    return hidden @ state["classifier.out_proj.weight"].T + state["classifier.out_proj.bias"]


@pytest.mark.parametrize(
    ("outputs", "words", "columns"),
    [
        (2, ["--label", "p_np", "--classes", "no,yes"], ["p:no", "p:yes"]),
        (3, ["--label", "toxic"], ["p:0", "p:1", "p:2"]),
        (1, ["--label", "logS", "--option", "mean=-3", "--option", "deviation=2"], ["logS"]),
    ],
)
def test_a_fine_tuned_file_predicts(
    folder: Path, outputs: int, words: list[str], columns: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from repcore.cli.main import run
    from repcore.embedding.prediction_files import read_table

    state = fine_tuned(outputs)
    torch.save(state, folder / "pytorch_model.bin")
    model, table, out = folder / "model", folder / "new.csv", folder / "out.csv"
    table.write_text("name,smiles\na,CCO\nb,CCC\n")
    assert run(["import", str(folder), "-o", str(model), *words]) == 0
    told = capsys.readouterr().out
    assert f"written: {len(state) - 3} of {len(state)} tensors of the file" in told  # position ids and the pooler
    assert run(["predict", str(model), str(table), "-o", str(out)]) == 0
    found = read_table(out)
    imported = load(folder)
    items = [imported.preprocessor.prepare(Sample(id="0", inputs=text))[0] for text in ("CCO", "CCC")]
    raw = torch.cat([head_outputs(state, imported.preprocessor.collate([item]).inputs["input_ids"]) for item in items])
    expected = {1: raw * 2 - 3, 2: raw.softmax(1), 3: raw.sigmoid()}[outputs]
    torch.testing.assert_close(
        torch.tensor([[found[name][row] for name in columns] for row in range(2)]), expected, rtol=0, atol=1e-4
    )


def test_what_a_fine_tuned_file_predicts_is_read_or_told(folder: Path) -> None:
    torch.save(fine_tuned(3), folder / "pytorch_model.bin")
    names = {"0": "low", "1": "middle", "2": "high"}
    settings = {**HUGGING_FACE, "problem_type": "single_label_classification", "id2label": names}
    (folder / "config.json").write_text(json.dumps(settings))
    task = load(folder).task
    assert (task.name, task.target.names) == ("classification", ("low", "middle", "high"))
    assert load(folder, kind="labels").task.target.kind == "multilabel"
    (folder / "config.json").write_text(
        json.dumps({**HUGGING_FACE, "id2label": {str(k): f"LABEL_{k}" for k in range(3)}})
    )
    assert (load(folder).task.name, load(folder).task.target.names) == ("multilabel", ())
    assert "3 outputs: labels, as in the authors' scripts" in load(folder).report.text()
    with pytest.raises(CheckpointError, match="mean='many' is not a number"):
        load(folder, kind="values", mean="many")
    torch.save(fine_tuned(1), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="kind=class does not fit a head of 1 outputs"):
        load(folder, kind="class")
    assert "need --option mean=" in load(folder).report.text()
