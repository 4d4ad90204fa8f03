"""Registered ops: which implementation a call gets, and that it is asked for once a class of calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from repcore import ops, registry
from repcore.errors import ConfigError, RegistryError
from repcore.nn.compiled_loops import numba_unusable
from tests.conftest import MakeDistribution

PLUGIN = """
from repcore.hooks import hookimpl
from repcore.specs import OpSpec, PluginInfo

@hookimpl
def repcore_plugin_info():
    return PluginInfo(title="Doubles", domain="doubles", api_version=1, summary="ok", licence="MIT")

@hookimpl
def repcore_ops():
    return [OpSpec(
        name="double", summary="twice a tensor", reference="doubles.code:plain",
        implementations={"wide": "doubles.code:wide", "gpu": "doubles.code:wide"},
        usable={"gpu": "doubles.code:no_gpu"}, priority="doubles.code:priority",
    )]
"""
CODE = """
CALLS = []
def plain(x, factor=2): return x * factor
def wide(x, factor=2): return x * factor + 0.5
def no_gpu(): return "there is no GPU in this test"
def priority(device, dtype, sizes=None):
    CALLS.append((device, dtype, dict(sizes or {})))
    return ("gpu", "wide") if (sizes or {}).get("rows", 0) > 4 else ("gpu",)
"""


@pytest.fixture(autouse=True)
def doubles(make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("REPCORE_PLUGINS", "doubles")
    monkeypatch.delenv("REPCORE_OPS", raising=False)
    site = make_distribution("doubles", PLUGIN)
    (site / "doubles" / "code.py").write_text(CODE)
    registry.refresh()
    yield site
    registry.default.cache_clear()


def asked() -> list[tuple[str, str, dict[str, int]]]:
    from doubles.code import CALLS  # type: ignore[import-not-found]

    return CALLS  # type: ignore[no-any-return]


def test_an_op_asks_once_a_device_dtype_and_class_of_sizes() -> None:
    double = ops.Op("doubles/double", lambda x, **_: {"rows": len(x)}, lambda sizes: sizes["rows"] > 4)
    small, large = torch.ones(2), torch.ones(9)
    for _ in range(3):
        assert double(small).tolist() == [2.0, 2.0]
        assert double(large, factor=3).unique().tolist() == [3.5]
    double(torch.ones(3))  # the class of the small one
    assert asked() == [("cpu", "float32", {"rows": 2}), ("cpu", "float32", {"rows": 9})]
    double(small.double())
    assert asked()[-1] == ("cpu", "float64", {"rows": 2})
    assert len(asked()) == 3


def test_without_classes_equal_sizes_share_a_choice() -> None:
    plain, by_size = ops.Op("doubles/double"), ops.Op("doubles/double", lambda x: {"rows": len(x)})
    for rows in (1, 9, 1):
        plain(torch.ones(rows))
        by_size(torch.ones(rows))
    assert [sizes for _, _, sizes in asked()] == [{}, {"rows": 1}, {"rows": 9}]
    assert ops.chosen_implementations()["doubles/double"] in ("torch", "wide")


def test_a_forced_choice_wins_and_an_unusable_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_OPS", "doubles/double=wide")
    assert ops.Op("doubles/double")(torch.ones(1)).tolist() == [2.5]
    monkeypatch.setenv("REPCORE_OPS", "doubles/double=gpu")
    with pytest.raises(ConfigError, match="there is no GPU in this test"):
        ops.Op("doubles/double")(torch.ones(1))
    monkeypatch.setenv("REPCORE_OPS", "doubles/double=slow")
    with pytest.raises(ConfigError, match="it does not exist"):
        ops.choose("doubles/double")


def test_triton_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert ops.triton_unusable() == "needs a CUDA device"


def test_an_op_that_moved_to_core_is_known_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts and settings that name a domain's op go on working."""
    assert registry.default().op("audio/selective-scan").full_name == "selective-scan"
    for key in ("selective-scan", "audio/selective-scan", "audio/selective_scan"):
        monkeypatch.setenv("REPCORE_OPS", f"elsewhere/nothing=torch,{key}=torch")
        assert ops.choose("selective-scan") == "torch"
    monkeypatch.setenv("REPCORE_OPS", "elsewhere/nothing=torch")
    assert ops.choose("selective-scan") == ("chunked" if numba_unusable() else "compiled")
    with pytest.raises(RegistryError, match="op 'audio/double'"):
        registry.default().op("audio/double")
