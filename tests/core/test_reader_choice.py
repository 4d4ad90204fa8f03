"""A reader is chosen by what will take its samples, then by content; failures and ties are said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from repcore.data.misfits import by_options
from repcore.data.readers import dataset_settings, recognise, refuse_misfit
from repcore.errors import DataError
from repcore.registry import Registry
from repcore.specs import DatasetSpec, PreprocessorSpec, TensorSpec

CLOUD, SCENE = TensorSpec("points", "N 3"), TensorSpec("scene", "N 6")


@dataclass(frozen=True)
class PathConfig:
    path: str = ""


def _raises(path: Path) -> float:
    raise KeyError("Ångström")


class _Entry:
    def __init__(self, name: str, makes: TensorSpec, sniff: Callable[[Path], float]) -> None:
        self.full_name, self._sniff = f"d/{name}", sniff
        self.spec = DatasetSpec(name=name, target="a:b", config="a:c", sniff="a:d", produces=(makes,))

    def load(self, what: str = "target") -> Any:
        return {"sniff": self._sniff, "config": PathConfig}[what]


class _Registry:
    def __init__(self, *entries: _Entry) -> None:
        self._entries = list(entries)

    def entries(self, kind: str, domain: str | None = None) -> list[_Entry]:
        return self._entries

    def dataset(self, name: str, domain: str | None = None) -> _Entry:
        return next(one for one in self._entries if one.full_name.endswith(name))

    def preprocessor(self, name: str, domain: str | None = None) -> Any:
        accepts = {"shapes": (CLOUD,), "scenes": (SCENE,)}[name]
        spec = PreprocessorSpec(name=name, target="a:b", config="a:c", accepts=accepts)
        return SimpleNamespace(full_name=f"d/{name}", spec=spec)


def _known(*entries: _Entry) -> Registry:
    return cast(Registry, _Registry(*entries))


def test_what_the_recipe_takes_comes_before_how_surely_a_reader_fits(tmp_path: Path) -> None:
    known = _known(_Entry("clouds", CLOUD, lambda path: 0.9), _Entry("rooms", SCENE, lambda path: 0.5))
    assert dataset_settings(known, str(tmp_path))["name"] == "d/clouds"
    assert dataset_settings(known, str(tmp_path), preprocessor="scenes")["name"] == "d/rooms"


def test_nothing_that_fits_names_both_sides(tmp_path: Path) -> None:
    known = _known(_Entry("clouds", CLOUD, lambda path: 0.9))
    with pytest.raises(DataError, match="looks like data for d/clouds") as raised:
        dataset_settings(known, str(tmp_path), preprocessor="scenes")
    assert "points (N 3)" in str(raised.value)
    assert "scene (N 6)" in str(raised.value)
    known = _known(_Entry("clouds", CLOUD, lambda path: 0.9), _Entry("rooms", SCENE, lambda path: 0.0))
    with pytest.raises(DataError, match="another recipe or model, or --reader d/rooms"):
        dataset_settings(known, str(tmp_path), preprocessor="scenes")
    with pytest.raises(DataError, match="which preprocessor d/scenes does not take"):
        dataset_settings(known, str(tmp_path), reader="clouds", preprocessor="scenes")
    refuse_misfit(None, known.dataset("clouds"))


def test_a_sniffer_that_raises_is_named_and_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = _known(_Entry("odd", CLOUD, _raises), _Entry("rooms", SCENE, lambda path: 0.5))
    found = recognise(known, tmp_path)
    assert [one.entry.full_name for one in found.fits] == ["d/rooms"]
    assert "d/odd could not look at it: KeyError" in found.problems[0]
    with pytest.raises(DataError, match="no reader recognises") as raised:
        dataset_settings(_known(_Entry("odd", CLOUD, _raises)), str(tmp_path))
    assert "d/odd could not look at it" in str(raised.value)
    monkeypatch.setenv("REPCORE_STRICT", "1")
    with pytest.raises(KeyError):
        recognise(known, tmp_path)


def test_a_tie_is_refused_with_choices(tmp_path: Path) -> None:
    known = _known(_Entry("clouds", CLOUD, lambda path: 0.5), _Entry("rooms", SCENE, lambda path: 0.5))
    with pytest.raises(DataError, match="2 readers fit") as raised:
        dataset_settings(known, str(tmp_path))
    assert "d/clouds, d/rooms" in str(raised.value)
    assert dataset_settings(known, str(tmp_path), preprocessor="scenes")["name"] == "d/rooms"


def test_what_nobody_recognises_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("")
    (tmp_path / "b.xyz").write_text("")
    with pytest.raises(DataError, match="no reader recognises") as raised:
        dataset_settings(_known(_Entry("clouds", CLOUD, lambda path: 0.0)), str(tmp_path))
    assert "2 x .xyz" in str(raised.value)


def test_what_all_readers_say_of_the_data_is_said_as_it_is(tmp_path: Path) -> None:
    def damaged(entry: Any) -> Any:
        raise DataError("shard part-00001.parquet is damaged", hint="fetch it again")

    entries: list[Any] = [_Entry("cloud", CLOUD, _raises), _Entry("scene", SCENE, _raises)]
    with pytest.raises(DataError) as caught:
        by_options(entries, damaged, "shards", tmp_path, {})
    assert caught.value.summary == "shard part-00001.parquet is damaged"
    assert caught.value.facts["hint"] == "fetch it again"

    def differently(entry: Any) -> Any:
        raise DataError(f"{entry.full_name} misses a column")

    with pytest.raises(DataError, match="no reader recognises") as caught:
        by_options(entries, differently, "shards", tmp_path, {})
    assert "d/cloud misses a column" in str(caught.value.facts["reasons"])
