"""Fixtures for all tests: shared data, fake distributions, a registry of toy plugins, the command line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# a busy machine is no fault of what is tested: no test depends on how long an example took
hypothesis_settings.register_profile("repcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("repcore")
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real and golden data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder 'shared' beside the checkout ({SHARED.name} holds real and golden data)")
    return SHARED


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache; one cache for the whole session, so that tests share prepared data."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("REPCORE_CACHE", str(cache))


MakeDistribution = Callable[..., Path]


def write_distribution(
    folder: Path,
    name: str,
    target: str,
    *,
    entry: str | None = None,
    version: str = "1.0",
    requires: tuple[str, ...] = (),
) -> Path:
    """The metadata of an installed distribution with one entry point of repcore's group."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "entry_points.txt").write_text(f"[repcore.plugins]\n{entry or name.removeprefix('repcore-')} = {target}\n")
    return info


@pytest.fixture
def make_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDistribution]:
    """Write a fake installed plugin (metadata and, optionally, source) and make it importable."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    made: list[str] = []

    def make(name: str, source: str = "", *, module: str | None = None, **metadata: object) -> Path:
        package = module or name.replace("-", "_")
        if source:
            (site / package).mkdir(exist_ok=True)
            (site / package / "__init__.py").touch()
            (site / package / "_plugin.py").write_text(source)
            made.append(package)
        write_distribution(site, name, f"{package}._plugin", **metadata)  # type: ignore[arg-type]
        importlib.invalidate_caches()
        return site

    yield make
    for package in made:
        for loaded in [one for one in sys.modules if one == package or one.startswith(f"{package}.")]:
            del sys.modules[loaded]


@pytest.fixture
def toys(make_distribution: MakeDistribution) -> Iterator[None]:
    """The two toy plugins, installed beside the real ones."""
    from repcore import registry

    make_distribution("toy-pairs", module="tests.toys.toy_pairs", entry="pairs")
    make_distribution("toy-edges", module="tests.toys.toy_edges", entry="edges")
    registry.refresh()
    yield
    registry.default.cache_clear()
