"""The distributions as a user gets them: built, installed from the wheel folder only, run outside the source tree."""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts import build_wheels, release
from scripts.release import ReleaseError, Trial
from tests.conftest import ROOT

pytestmark = [pytest.mark.wheels, pytest.mark.slow, pytest.mark.timeout(600)]
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
    return release.linked_packages(tmp_path_factory.mktemp("third-party"))


@pytest.fixture(scope="module")
def with_molecules(tmp_path_factory: pytest.TempPathFactory, third_party: Path, wheels: Path) -> Trial:
    if not MOLECULES:
        pytest.skip("the molecules plugin is not in this checkout")
    folder = tmp_path_factory.mktemp("molecules")
    return release.make_trial(folder, third_party, wheels, ["repcore", "repcore-molecules"])


def test_core_alone_lists_and_says_how_to_get_a_plugin(tmp_path: Path, third_party: Path, wheels: Path) -> None:
    core = release.make_trial(tmp_path, third_party, wheels, ["repcore"])
    assert 'pip install "repcore[molecules]"' in core.run("list").stdout
    assert 'pip install "repcore[audio]"' in core.run("audio", "train", "x", code=2).stderr
    release.try_core_alone(core)  # also writes a new plugin, installs, trains and checks it


def test_training_and_embedding_outside_the_source_tree(with_molecules: Trial) -> None:
    release.try_plugins(with_molecules, ["molecules"], train=False)
    recipe, *settings = release.SMOKE["molecules"]
    with_molecules.run("molecules", "train", recipe, "--name", "smoke", *settings, *release.SMALL_RUN)
    with_molecules.run("embed", "runs/smoke/model", "molecules/nci", "-o", "rows.npz")
    assert (with_molecules.elsewhere / "rows.npz").is_file()


def test_all_plugins_together_and_all_but_one(tmp_path: Path, third_party: Path, wheels: Path) -> None:
    domains = [folder.name for folder in build_wheels.plugin_folders()]
    models = [folder.parent.name for folder in build_wheels.model_folders()]
    names = ["repcore", *(f"repcore-{one}" for one in [*domains, *map(release.models_of, models)])]
    together = release.make_trial(tmp_path, third_party, wheels, names)
    release.try_plugins(together, domains, train=False, models=models)
    for domain in models:
        release.try_models(together, domain, whole=False)
    release.try_removals(together, wheels, domains, removed=domains[:1], models=models)
    with pytest.raises(ReleaseError, match="not in order"):
        release.try_plugins(together, domains[1:], train=False, models=models)


def test_a_model_comes_with_its_wheel_and_is_found_by_name(
    tmp_path: Path, third_party: Path, wheels: Path, with_molecules: Trial
) -> None:
    """The wheel alone gives the files; without the domain the model is refused with the command that brings it."""
    recipe, *settings = release.SMOKE["molecules"]
    with_molecules.run("molecules", "train", recipe, "--name", "boxed", *settings, *release.SMALL_RUN)
    source = tmp_path / "plugins" / "molecules" / "models"
    shutil.copytree(ROOT / "plugins" / "molecules" / "models", source, ignore=shutil.ignore_patterns("*-small"))
    shutil.copy(ROOT / "VERSION", tmp_path)
    trained = with_molecules.elsewhere / "runs" / "boxed" / "model"
    shutil.copytree(trained, source / "src" / "repcore_molecules_models" / "selformer-toy")
    wheel = build_wheels.build_and_check(source, tmp_path / "dist")
    with_molecules.install(str(wheel))
    with_molecules.run("embed", "molecules/selformer-toy", "molecules/nci", "-o", "named.npz")
    listed = with_molecules.run("list", "models", "--json").stdout
    assert [one["name"] for one in json.loads(listed)] == ["molecules/selformer-toy"]
    alone = release.make_trial(tmp_path / "alone", third_party, wheels, ["repcore"])
    alone.install(str(wheel))
    assert "needs its domain" in alone.run("list", "models").stdout
    said = alone.run("embed", "molecules/selformer-toy", "x.csv", "-o", "named.npz", code=2).stderr
    assert 'pip install "repcore[molecules]"' in said
    with_molecules.uninstall("repcore-molecules-models")
    said = with_molecules.run("embed", "molecules/selformer-toy", "molecules/nci", "-o", "gone.npz", code=2).stderr
    assert "pip install repcore-molecules-models" in said


def test_the_extra_of_models_brings_files_and_no_code_of_a_domain() -> None:
    """An extra cannot see another: `models` asks for the files of all domains, which ask for core alone."""
    core = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    folders = build_wheels.model_folders()
    described = [tomllib.loads((one / "pyproject.toml").read_text())["project"] for one in folders]
    assert [one["name"] for one in described] == [f"repcore-{folder.parent.name}-models" for folder in folders]
    assert [one.partition(">")[0] for one in core["models"]] == [one["name"] for one in described]
    assert "models" in core["all"][0]
    for one in described:
        assert [need.partition(">")[0] for need in one["dependencies"]] == ["repcore"]


def test_every_domain_has_a_short_training() -> None:
    assert {folder.name for folder in build_wheels.plugin_folders()} <= set(release.SMOKE)


def test_lowest_and_newest_versions_are_what_is_declared() -> None:
    lowest = release.wanted_versions("lowest", ["repcore"])
    assert lowest["pluggy"] == "==1.7"
    assert "repcore" not in lowest
    newest = release.wanted_versions("newest", ["repcore"])["pluggy"]
    assert set(newest.split(",")) == {">=1.7", "<2"}


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
