"""The distributions as a user gets them: built, installed from the wheel folder only, run outside the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import build_wheels
from tests.conftest import ROOT

pytestmark = [pytest.mark.wheels, pytest.mark.slow, pytest.mark.timeout(600)]
Run = Callable[..., subprocess.CompletedProcess[str]]
MOLECULES = (ROOT / "plugins" / "molecules" / "pyproject.toml").is_file()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of core and of every plugin present."""
    pytest.importorskip("build", reason="building needs the packages build, hatchling and editables")
    out = tmp_path_factory.mktemp("wheels")
    for folder in build_wheels.package_folders():
        build_wheels.build_and_check(folder, out)
    return out


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This environment's packages without repcore and its editable installs, as links."""
    folder = tmp_path_factory.mktemp("third-party")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(("repcore", "_editable_impl_repcore", "pip")) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def environment(folder: Path, third_party: Path, wheels: Path, *names: str) -> Run:
    """A fresh environment with the named wheels; returns how to run its ``repcore`` somewhere else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    binaries = folder / "env" / "bin"
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site / "third_party.pth").write_text(f"{third_party}\n")
    install = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--disable-pip-version-check", "--find-links", str(wheels)]
    subprocess.run([*install, *options, *names], check=True, capture_output=True, text=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "REPCORE_PLUGINS")}
    variables |= {"OMP_NUM_THREADS": "1", "REPCORE_CACHE": str(folder / "cache")}

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(binaries / "repcore"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere, env=variables)
        assert done.returncode == code, f"repcore {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert str(ROOT) not in done.stdout + done.stderr, "the source tree is in use"
        return done

    return run


@pytest.fixture(scope="module")
def with_molecules(tmp_path_factory: pytest.TempPathFactory, third_party: Path, wheels: Path) -> Run:
    if not MOLECULES:
        pytest.skip("the molecules plugin is not in this checkout")
    folder = tmp_path_factory.mktemp("molecules")
    return environment(folder, third_party, wheels, "repcore", "repcore-molecules")


def test_core_alone_lists_and_says_how_to_get_a_plugin(tmp_path: Path, third_party: Path, wheels: Path) -> None:
    run = environment(tmp_path, third_party, wheels, "repcore")
    shown = run("list").stdout
    assert "No plugin is installed" in shown
    assert 'pip install "repcore[molecules]"' in shown
    health = json.loads(run("plugins", "--doctor", "--json").stdout)
    assert [one["name"] for one in health["plugins"]] == ["core"]
    assert 'pip install "repcore[audio]"' in run("audio", "train", "x", code=2).stderr


def test_core_and_one_plugin_are_in_order(with_molecules: Run) -> None:
    health = json.loads(with_molecules("plugins", "--doctor", "--json").stdout)
    assert {one["name"]: one["status"] for one in health["plugins"]} == {"core": "ok", "molecules": "ok"}
    assert "molecules/selformer" in with_molecules("list", "recipes").stdout


def test_training_and_embedding_outside_the_source_tree(with_molecules: Run) -> None:
    small = ["hidden_width=32", "layers=1", "attention_heads=2", "feed_forward_width=64"]
    settings = [f"encoder.{one}" for one in small] + ["trainer.steps=3", "data.limit=200", "data.batch_size=16"]
    with_molecules("molecules", "train", "selformer", "--name", "smoke", *settings)
    with_molecules("embed", "runs/smoke/model", "molecules/nci", "-o", "rows.npz")
    health = json.loads(with_molecules("plugins", "--json").stdout)
    assert {one["version"] for one in health} == {(ROOT / "VERSION").read_text().strip()}


def test_all_plugins_together(tmp_path: Path, third_party: Path, wheels: Path) -> None:
    names = [wheel.name.partition("-")[0] for wheel in wheels.glob("*.whl")]
    run = environment(tmp_path, third_party, wheels, *names)
    health = json.loads(run("plugins", "--doctor", "--json").stdout)
    assert len(health["plugins"]) == len(names)


def test_the_content_check_notices(tmp_path: Path, wheels: Path) -> None:
    """A wheel that lost a file, and one that carries a cache, are refused."""
    core = next(wheels.glob("repcore-*.whl"))
    lost, surplus = tmp_path / core.name, tmp_path / "surplus.whl"
    with zipfile.ZipFile(core) as source, zipfile.ZipFile(lost, "w") as less, zipfile.ZipFile(surplus, "w") as more:
        for name in source.namelist():
            more.writestr(name, source.read(name))
            if name != "repcore/py.typed":
                less.writestr(name, source.read(name))
        more.writestr("repcore/__pycache__/hooks.cpython-311.pyc", b"")
    with pytest.raises(build_wheels.DistributionError, match=r"missing .*repcore/py\.typed.*surplus"):
        build_wheels.check_wheel(lost, ROOT / "core")
    with pytest.raises(build_wheels.DistributionError, match="__pycache__"):
        build_wheels.check_wheel(surplus, ROOT / "core")
