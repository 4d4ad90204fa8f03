"""Key maps: every key of a published file is renamed, stacked, tied or dropped by a rule, or named in an error."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from repcore.checkpoints.keymap import Drop, KeyMap, Rename, Rule, Stack, Tied
from repcore.errors import CheckpointError

RULES: tuple[Rule, ...] = (
    Drop("body.position_ids", "counts from 0"),
    Drop("pooler.{rest*}", "used by no head"),
    Tied("decoder.weight", of="words.weight"),
    Rename("words.weight", "embedding.weight"),
    Stack(("l.{i}.q.{part}", "l.{i}.k.{part}", "l.{i}.v.{part}"), "layers.{i}.qkv.{part}"),
    Rename("l.{i}.conv1d.weight", "layers.{i}.linear.weight", transpose=True),
)
KEY_MAP = KeyMap(RULES)


def published() -> dict[str, Tensor]:
    state = {"body.position_ids": torch.arange(3)[None], "pooler.dense.weight": torch.ones(2, 2)}
    state |= {"words.weight": torch.randn(5, 2), "l.10.conv1d.weight": torch.randn(2, 4)}
    state |= {f"l.{i}.{name}.{part}": torch.randn(2, *((2,) if part == "weight" else ()))
              for i in (0, 10) for name in "qkv" for part in ("weight", "bias")}  # fmt: skip
    return {**state, "decoder.weight": state["words.weight"].clone()}


def apply(state: dict[str, Tensor], **settings: object) -> dict[str, Tensor]:
    return KEY_MAP.apply(state, source="file.bin", target="toy/net", **settings)[0]  # type: ignore[arg-type]


def test_every_kind_of_rule_and_the_report() -> None:
    state = published()
    ours, report = KEY_MAP.apply(state, source="file.bin", target="toy/net")
    assert set(ours) == {
        "embedding.weight", "layers.10.linear.weight",
        *(f"layers.{i}.qkv.{part}" for i in (0, 10) for part in ("weight", "bias")),
    }  # fmt: skip
    qkv = torch.cat([state[f"l.10.{name}.weight"] for name in "qkv"])
    assert torch.equal(ours["layers.10.qkv.weight"], qkv)
    assert torch.equal(ours["layers.10.linear.weight"], state["l.10.conv1d.weight"].T)
    assert report.total == len(state)
    assert report.renamed["l.0.k.bias"] == "layers.0.qkv.bias"
    assert report.dropped == {"body.position_ids": "counts from 0", "pooler.dense.weight": "used by no head"}
    assert report.tied == {"decoder.weight": "words.weight"}
    text = report.text()
    assert "17 tensors" in text
    assert "used:    14 as 6" in text
    assert "counts from 0" in text
    assert json.loads(json.dumps(report.to_json()))["total"] == 17
    _, elsewhere = KEY_MAP.apply(state, source="home/me/file.bin", target="toy/net")
    assert elsewhere.to_json()["source"] == "file.bin"  # saved with models, which are shared


def test_reverse_restores_the_published_layout() -> None:
    state = published()
    back = KEY_MAP.reverse(apply(state))
    kept = {name: value for name, value in state.items() if name not in ("body.position_ids", "pooler.dense.weight")}
    assert back.keys() == kept.keys()
    assert all(torch.equal(back[name], kept[name]) for name in kept)
    with pytest.raises(CheckpointError, match=r"head.bias has no published name"):
        KEY_MAP.reverse({"head.bias": torch.ones(1)})


def test_a_key_without_a_rule_is_named() -> None:
    state = {**published(), "head.weight": torch.ones(1), "head.bias": torch.ones(1), "l.x.q.weight": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        apply(state)
    assert "3 of 20 tensors in file.bin have no place in toy/net" in str(caught.value)
    assert "head.* (2), l.x.q.weight" in str(caught.value)


def test_keys_against_the_module() -> None:
    expected = {name: torch.empty_like(value) for name, value in apply(published()).items()}
    assert apply(published(), expected=expected).keys() == expected.keys()
    short = {name: value for name, value in expected.items() if not name.startswith("layers.10")}
    with pytest.raises(CheckpointError, match=r"7 of 17 tensors in file.bin have no place[\s\S]*l.10.q.\* \(2\)"):
        apply(published(), expected=short)
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of toy/net[\s\S]*missing: +norm.bias"):
        apply(published(), expected={**expected, "norm.bias": torch.empty(1)})
    wide = {**expected, "embedding.weight": torch.empty(5, 3)}
    with pytest.raises(CheckpointError, match=r"do not fit[\s\S]*words.weight \(5, 2\) for embedding.weight \(5, 3\)"):
        apply(published(), expected=wide)


def test_tensors_that_may_be_missing_are_reported() -> None:
    expected = {**apply(published()), "head.weight": torch.empty(1)}
    _, report = KEY_MAP.apply(published(), source="f", target="t", expected=expected, may_miss=("head.*",))
    assert report.missing == ["head.weight"]
    assert "missing: 1 (head.weight)" in report.text()


def test_tied_tensors_must_be_equal() -> None:
    state = published()
    state["decoder.weight"] = state["decoder.weight"] + 1
    with pytest.raises(CheckpointError, match=r"decoder.weight and words.weight of file.bin differ"):
        apply(state)
    del state["words.weight"]
    with pytest.raises(CheckpointError, match=r"but not words.weight"):
        apply(state)
    del state["decoder.weight"]
    assert "embedding.weight" not in apply(state)


def test_incomplete_or_uneven_stacks_are_refused() -> None:
    state = published()
    state["l.0.k.weight"] = torch.ones(3, 2)
    with pytest.raises(CheckpointError, match=r"layers.0.qkv.weight differ in shape"):
        apply(state)
    del state["l.0.k.weight"]
    with pytest.raises(CheckpointError, match=r"only a part of layers.0.qkv.weight[\s\S]*l.\{i\}.k"):
        apply(state)


def test_two_keys_cannot_become_one() -> None:
    both = KeyMap((Rename("a", "x"), Rename("b", "x")))
    with pytest.raises(CheckpointError, match=r"two tensors of f become x"):
        both.apply({"a": torch.ones(1), "b": torch.ones(1)}, source="f", target="t")


def test_the_first_rule_that_fits_decides() -> None:
    rules = KeyMap((Drop("a.{part}", "not needed"), Rename("a.b", "b")))
    ours, report = rules.apply({"a.b": torch.ones(1)}, source="f", target="t")
    assert ours == {}
    assert report.dropped == {"a.b": "not needed"}


def test_placeholders_do_not_match_too_much() -> None:
    rules = KeyMap((Rename("x.{i}.{part}", "y.{i}.{part}"),))
    for name in ("x.a.w", "x.1.w.v", "zx.1.w", "x.1."):
        with pytest.raises(CheckpointError, match=r"no place"):
            rules.apply({name: torch.ones(1)}, source="f", target="t")
