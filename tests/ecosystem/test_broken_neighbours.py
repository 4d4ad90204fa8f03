"""With broken plugins around: listing stays quick, pip can still be reached, and every hook call can be watched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repcore import registry
from repcore.cli import main as command_line
from repcore.cli import plugin_health
from repcore.testing import limits
from tests.conftest import MakeDistribution, write_distribution
from tests.ecosystem.test_startup import LIMIT_SECONDS, timed

GOOD = (
    "from repcore.hooks import hookimpl\nfrom repcore.specs import *\n"
    "@hookimpl\ndef repcore_plugin_info():\n"
    "    return PluginInfo(title='F', domain='{name}', api_version=1, summary='a fake')\n"
    "@hookimpl\ndef repcore_encoders():\n"
    "    return [EncoderSpec(name=f'net-{{i}}', target='{name}.code:Net', config='{name}.code:C') for i in range(20)]\n"
)
BROKEN = {"fakeboom": "raise RuntimeError('boom')\n", "fakequits": "import sys\nsys.exit(3)\n"}


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """A site folder with three third-party plugins and two broken ones."""
    sources = {name: GOOD.format(name=name) for name in ("fakeone", "faketwo", "fakethree")} | BROKEN
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "_plugin.py").write_text(source)
        write_distribution(tmp_path, name, f"{name}._plugin")
    return tmp_path


def test_listing_everything_stays_quick(crowd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.pathsep.join(filter(None, [str(crowd), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    done = subprocess.run(
        [sys.executable, "-c", "from repcore.cli.main import main; main(['list'])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("fakeone/net-") == 20
    assert "'fakeboom' is not loaded (RuntimeError: boom)" in done.stderr
    assert "'fakequits' is not loaded (SystemExit: 3)" in done.stderr
    runs = [timed("from repcore.cli.main import main; main(['list'])") for _ in range(5)]
    computing, waiting = (min(one) for one in zip(*runs, strict=True))
    assert computing < limits.computing(LIMIT_SECONDS)
    if os.getloadavg()[0] <= (os.cpu_count() or 1):  # otherwise the clock shows what other programs did
        assert waiting < LIMIT_SECONDS


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would be handed to pip."""
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(plugin_health, "_pip", lambda *words: called.append(words))
    return called


def test_a_broken_plugin_can_be_removed(
    make_distribution: MakeDistribution, pip: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    make_distribution("fake-boom", "import os\nos._exit(9)\n", module="fake_kills", entry="kills")
    registry.default.cache_clear()
    assert command_line.run(["plugins", "uninstall", "kills", "--yes"]) == 0
    assert pip == [("uninstall", "--yes", "fake-boom")]
    assert command_line.run(["plugins", "uninstall", "kils"]) == 2
    assert "did you mean:  kills" in capsys.readouterr().err


def test_install_knows_the_domains_by_name(pip: list[tuple[str, ...]]) -> None:
    assert command_line.run(["plugins", "install", "molecules", "./mine", "repcore-else>=1"]) == 0
    assert pip == [("install", "repcore[molecules]", "./mine", "repcore-else>=1")]


def test_pip_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.CompletedProcess([], 7)
    monkeypatch.setattr(plugin_health.subprocess, "run", lambda *words, **named: done)
    assert command_line.run(["plugins", "install", "./nowhere"]) == 2
    assert "exit code 7" in capsys.readouterr().err


def test_every_hook_call_is_traced(
    make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_distribution("fake", GOOD.format(name="fake"), module="fake_traced")
    make_distribution("fake-boom", BROKEN["fakeboom"], module="fake_boom", entry="boom")
    registry.refresh()
    assert "ms" not in capsys.readouterr().err
    monkeypatch.setenv("REPCORE_TRACE", "1")
    registry.refresh()
    shown = capsys.readouterr().err
    for words in ("fake: import fake_traced._plugin", "fake: repcore_plugin_info", "fake: repcore_encoders"):
        assert f"repcore: {words}: " in shown
    assert "boom: import fake_boom._plugin" in shown  # also where it fails
    registry.default.cache_clear()
