"""The distributions as a user gets them: built, installed from the wheel folder only, run outside the source tree."""

from __future__ import annotations

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
    domains = [folder.name for folder in build_wheels.package_folders()[1:]]
    names = ["repcore", *(f"repcore-{domain}" for domain in domains)]
    together = release.make_trial(tmp_path, third_party, wheels, names)
    release.try_plugins(together, domains, train=False)
    release.try_removals(together, wheels, domains, removed=domains[:1])
    with pytest.raises(ReleaseError, match="not in order"):
        release.try_plugins(together, domains[1:], train=False)


def test_every_domain_has_a_short_training() -> None:
    assert {folder.name for folder in build_wheels.package_folders()[1:]} <= set(release.SMOKE)


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
