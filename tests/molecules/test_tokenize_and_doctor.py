"""The domain's own commands."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from repcore.cli.main import run
from tests.molecules.conftest import WriteTable, train
from tests.molecules.test_selfies_preprocessor import vocabulary_folder


def tokenize(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    """Rows of the tab-separated output by column."""
    assert run(["molecules", "tokenize", *arguments]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def test_smiles_as_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(vocabulary_folder(tmp_path / "v"))
    rows = tokenize(capsys, "OC(C)=O", "C1CC", "", "C" * 10_001, "--vocabulary", folder, "--mode", "bracket")
    assert [row["status"] for row in rows] == ["unknown_symbols", "invalid_smiles", "empty", "invalid_smiles"]
    assert rows[0]["canonical"] == "CC(=O)O"
    assert rows[0]["selfies"] == "[C][C][=Branch1][C][=O][O]"
    assert rows[0]["ids"] == "1 5 5 6 0 0 0 0 0 0 0 5 8 7 2"  # Branch1 has no letters here
    assert rows[0]["tokens"].split()[-3:] == ["=O", "O", "</s>"]
    assert rows[1]["reason"] == "ring 1 is not closed"


def test_symbols_without_a_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["molecules", "tokenize", "CCO"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split("\t")[-1] == "[C] [C] [O]"
    assert "ids" not in shown.out.splitlines()[0].split("\t")
    assert "symbols without ids" in shown.err


def test_files_standard_input_and_models(
    tiny_run: Path, write_table: WriteTable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_table("m.csv", {"Drug": ["CCO", "xx"], "y": [0.5, 1.5]})
    rows = tokenize(capsys, str(data), "--column", "drug", "--model", str(tiny_run))
    assert [row["status"] for row in rows] == ["ok", "invalid_smiles"]
    assert rows[0]["ids"].split()[0] == "1"
    monkeypatch.setattr(sys, "stdin", io.StringIO("CCO\r\n\nCC[Pt]\n"))
    piped = tokenize(capsys, "--model", str(tiny_run / "model"))
    assert [row["status"] for row in piped] == ["ok", "empty", "unknown_symbols"]
    assert piped[0]["ids"] == rows[0]["ids"]
    assert run(["molecules", "tokenize", "CCO", "--model", str(tiny_run), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["tokens"] == ["<s>", "[C]", "[C]", "[O]", "</s>"]
    assert " ".join(map(str, record["ids"])) == rows[0]["ids"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv"], "'none.csv' does not exist"),
        (["CC", "--mode", "fast"], "needs --vocabulary DIR"),
        (["CC", "--mode", "symbol", "--vocabulary", "x"], "does not use published vocabulary"),
        (["CC", "--mode", "slow", "--model", "x"], "brings its own vocabulary"),
        (["CC", "--vocabulary", "no-such-folder"], "no vocab.json"),
    ],
)
def test_refused_uses_of_tokenize(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["molecules", "tokenize", *arguments]) == 2
    text = capsys.readouterr().err
    assert words in text
    assert len(text.splitlines()) <= 4


@pytest.fixture(scope="module")
def trained_with_v428(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that learned v428 ids in `fast` mode, for half a minute of one core."""
    from tests.conftest import SHARED

    folder = SHARED / "golden" / "selformer" / "tokenizer" / "v428"
    if not folder.is_dir():
        pytest.skip("golden vocabularies are not beside the checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPCORE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(
            tmp_path_factory.mktemp("runs"),
            "v428",
            "preprocessor.mode=fast",
            f"preprocessor.vocabulary={folder}",
            "trainer.steps=120",
            "encoder.hidden_width=48",
            "encoder.feed_forward_width=64",
            "optimiser.lr=5e-3",
            "data.limit=1500",
        )


def as_published(folder: Path, target: Path) -> Path:
    """The run written the way the authors publish weights: their key names, a zip pickle, config.json."""
    target.mkdir()
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    settings = json.loads((folder / "config.json").read_text())["encoder"]
    state = {}
    for name, value in saved.items():
        for published, part in _published(name.removeprefix("objective."), value):
            state[published] = part.clone()
    torch.save(state, target / "pytorch_model.bin")
    config = {
        "model_type": "roberta", "vocab_size": settings["vocabulary_size"], "hidden_size": settings["hidden_width"],
        "num_hidden_layers": settings["layers"], "num_attention_heads": settings["attention_heads"],
        "intermediate_size": settings["feed_forward_width"], "max_position_embeddings": settings["max_positions"],
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "layer_norm_eps": settings["norm_epsilon"],
        "pad_token_id": settings["position_padding_id"],
    }  # fmt: skip
    (target / "config.json").write_text(json.dumps(config))
    return target


def _published(name: str, value: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Our key as published keys with their tensors, written out by hand."""
    fixed = {
        "encoder.embeddings.words.weight": "roberta.embeddings.word_embeddings.weight",
        "encoder.embeddings.positions.weight": "roberta.embeddings.position_embeddings.weight",
        "encoder.embeddings.token_type": "roberta.embeddings.token_type_embeddings.weight",
        "head.bias": "lm_head.bias",
    }
    if name in fixed:
        return [(fixed[name], value)]
    stem, _, part = name.rpartition(".")
    if stem.endswith("attention.qkv"):
        layer = stem.split(".")[2]
        return [(f"roberta.encoder.layer.{layer}.attention.self.{word}.{part}", piece)
                for word, piece in zip(("query", "key", "value"), value.chunk(3), strict=True)]  # fmt: skip
    places = {
        "encoder.embeddings.norm": "roberta.embeddings.LayerNorm",
        "encoder.layers.0.attention.output": "roberta.encoder.layer.0.attention.output.dense",
        "encoder.layers.0.attention_norm": "roberta.encoder.layer.0.attention.output.LayerNorm",
        "encoder.layers.0.feed_forward.expand": "roberta.encoder.layer.0.intermediate.dense",
        "encoder.layers.0.feed_forward.contract": "roberta.encoder.layer.0.output.dense",
        "encoder.layers.0.feed_forward_norm": "roberta.encoder.layer.0.output.LayerNorm",
        "head.dense": "lm_head.dense",
        "head.norm": "lm_head.layer_norm",
    }
    return [(f"{places[stem]}.{part}", value)]


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = run(["molecules", "doctor", *arguments, "--molecules", "60", "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_doctor_finds_the_vocabulary_a_run_was_trained_with(
    trained_with_v428: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    v208 = shared / "golden" / "selformer" / "tokenizer" / "v208"
    code, found = doctor(capsys, str(trained_with_v428), "--vocabulary", str(v208))
    assert code == 0
    best, *others = found["scores"]  # type: ignore[misc]
    assert (best["tokens"], best["mode"]) == (428, "fast")
    assert best["gain"] > 0
    wrong = [one for one in others if one["tokens"] == 208]
    assert len(wrong) == 6
    assert all(one["loss"] > best["loss"] + 1 for one in wrong)  # measured: 2.0 against 6 and more


@pytest.mark.slow
def test_doctor_warns_when_a_checkpoint_would_be_fed_with_the_wrong_vocabulary(
    trained_with_v428: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_published(trained_with_v428, tmp_path / "published")
    vocabularies = shared / "golden" / "selformer" / "tokenizer"
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(vocabularies / "v208" / name, folder / name)
    code, found = doctor(capsys, str(folder), "--vocabulary", str(vocabularies / "v428"))
    assert code == 1
    assert found["used"] == [str(folder), "fast"]
    best = found["scores"][0]  # type: ignore[index]
    assert best["tokens"] == 428
    assert any("warning" in words and "v428" in words for words in found["verdict"])  # type: ignore[attr-defined]
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(vocabularies / "v428" / name, folder / name)
    assert run(["molecules", "doctor", str(folder), "--molecules", "60"]) == 0
    assert "(yours)\t428\tfast" in capsys.readouterr().out


def test_doctor_says_what_it_cannot_look_at(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(tiny_run / "model", tmp_path / "model")
    assert run(["molecules", "doctor", str(tmp_path / "model")]) == 2
    assert "encoder without the language head" in capsys.readouterr().err
    assert run(["molecules", "doctor", str(tmp_path / "none")]) == 2
    assert "there is no checkpoint or run" in capsys.readouterr().err
    published = as_published(tiny_run, tmp_path / "published")
    assert run(["molecules", "doctor", str(published)]) == 2
    assert "no vocabulary to try" in capsys.readouterr().err
    folder = vocabulary_folder(tmp_path / "v")
    tokens = ["<unk>", "<s>", "</s>", "<pad>", "<mask>", *map(chr, range(200, 900))]  # more than the model has rows
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("")
    assert run(["molecules", "doctor", str(published), "--vocabulary", str(folder)]) == 2
    assert "it cannot be right" in capsys.readouterr().err
    (published / "config.json").unlink()
    assert run(["molecules", "doctor", str(published), "--vocabulary", str(folder)]) == 2
    assert "--from-config FILE" in capsys.readouterr().err
