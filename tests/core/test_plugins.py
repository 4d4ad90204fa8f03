"""Loading plugins: whatever one plugin does wrong, the others work and the failure is named with its remedy."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from repcore import hooks, plugins, registry
from repcore.cli import main as command_line
from repcore.errors import PluginError, RegistryError
from repcore.plugins import Candidate, PluginRecord, load_plugins
from tests.conftest import MakeDistribution, write_distribution

HEADER = """
from repcore.hooks import hookimpl
from repcore.specs import *

@hookimpl
def repcore_plugin_info():
    return PluginInfo(title="T", domain="{domain}", api_version={api})
"""
ENCODERS = """
@hookimpl
def repcore_encoders():
    return [{specs}]
"""


def good(domain: str, *, api: object = hooks.API_VERSION, body: str = "") -> str:
    """Source of a plugin with one encoder, or with another body."""
    encoder = f'EncoderSpec(name="net", target="{domain}.code:Net", config="{domain}.code:Config", summary="ok")'
    return HEADER.format(domain=domain, api=api) + (body or ENCODERS.format(specs=encoder))


def encoder(**fields: object) -> str:
    """A hook that returns one encoder spec with the given fields."""
    given = {"name": "net", "target": "a.b:C", "config": "a.b:D", **fields}
    return ENCODERS.format(specs=f"EncoderSpec({', '.join(f'{key}={value!r}' for key, value in given.items())})")


@dataclass(frozen=True)
class Fault:
    """A broken plugin and what must be said about it."""

    source: str
    status: str
    problem: str
    remedy: str
    requires: tuple[str, ...] = ()


FAULTS = {
    "import-error": Fault("raise ValueError('boom')", "import-error", "ValueError: boom", "--upgrade repcore-bad"),
    "missing-module": Fault("import no_such_xyz", "import-error", "no_such_xyz", "pip install no_such_xyz"),
    "own-module-missing": Fault("from bad import lost", "import-error", "lost", "--upgrade repcore-bad"),
    "system-exit": Fault("import sys; sys.exit(3)", "import-error", "SystemExit: 3", "pip uninstall repcore-bad"),
    "syntax-error": Fault("def broken(:", "import-error", "SyntaxError", "pip install --upgrade"),
    "wrong-signature": Fault(
        good("bad", body="@hookimpl\ndef repcore_encoders(config):\n    return []\n"),
        "invalid-hook", "repcore_encoders(config) takes arguments", "def repcore_encoders() -> list",
    ),
    "keyword-only-argument": Fault(
        good("bad", body="@hookimpl\ndef repcore_encoders(*, config=1):\n    return []\n"),
        "invalid-hook", "takes arguments", "def repcore_encoders()",
    ),
    "unknown-hook": Fault(
        good("bad", body="@hookimpl\ndef repcore_encodres():\n    return []\n"),
        "invalid-hook", "unknown hook repcore_encodres", "did you mean repcore_encoders?",
    ),
    "not-marked": Fault(
        good("bad", body="def repcore_encoders():\n    return []\n"),
        "invalid-hook", "repcore_encoders is not marked", "@hookimpl",
    ),
    "wrapper": Fault(
        good("bad", body="@hookimpl(wrapper=True)\ndef repcore_encoders():\n    return (yield)\n"),
        "invalid-hook", "is a wrapper", "cannot be wrapped",
    ),
    "no-info": Fault("from repcore.hooks import hookimpl\n", "invalid-hook", "plugin_info is missing", "repcore.hooks"),
    "wrong-info": Fault(
        "from repcore.hooks import hookimpl\n@hookimpl\ndef repcore_plugin_info():\n    return {'title': 'T'}\n",
        "bad-spec", "repcore_plugin_info returned dict", "pip uninstall repcore-bad",
    ),
    "too-new": Fault(good("bad", api=99), "incompatible", "written for contract 99", "pip install --upgrade repcore"),
    "too-old": Fault(good("bad", api=0), "incompatible", "written for contract 0", "pip install --upgrade repcore-bad"),
    "bool-version": Fault(good("bad", api=True), "bad-spec", "api_version=True is not an integer", "pip uninstall"),
    "core-too-old": Fault(
        good("bad"), "incompatible", "requires repcore>=99", "pip install --upgrade repcore", ("repcore>=99",)
    ),
    "core-too-new": Fault(good("bad"), "incompatible", "requires repcore<0.0.1", "upgrade", ("repcore (<0.0.1)",)),
    "not-a-list": Fault(
        good("bad", body='@hookimpl\ndef repcore_encoders():\n    return {"net": 1}\n'),
        "bad-spec", "repcore_encoders returned dict", "pip uninstall repcore-bad",
    ),
    "nothing-returned": Fault(
        good("bad", body="@hookimpl\ndef repcore_encoders():\n    pass\n"), "bad-spec", "returned NoneType", "fix or"
    ),
    "wrong-spec-type": Fault(
        good("bad", body=ENCODERS.format(specs='TaskSpec(name="x", target="a:b", config="a:c")')),
        "bad-spec", "repcore_encoders returned a TaskSpec", "fix or remove",
    ),
    "bad-name": Fault(good("bad", body=encoder(name="My_Net")), "bad-spec", "'My_Net' is not a valid name", "fix or"),
    "bad-target": Fault(good("bad", body=encoder(target="a.b.C")), "bad-spec", "'a.b.C' is not a target", "fix or"),
    "unknown-field": Fault(good("bad", body=encoder(colour="red")), "bad-spec", "colour", "fix or remove"),
    "bad-domain": Fault(good("Bad Domain"), "bad-spec", "'Bad Domain' is not a plain lower-case word", "fix or"),
    "domain-is-command": Fault(good("list"), "bad-spec", "domain 'list' is a command", "fix or remove"),
    "command-is-core's": Fault(
        good("bad", body='@hookimpl\ndef repcore_commands():\n    return [CommandSpec(name="train", target="a:b")]\n'),
        "bad-spec", "command 'train' is core's own", "fix or remove",
    ),
    "same-name-twice": Fault(
        good("bad", body=ENCODERS.format(specs='*[EncoderSpec(name="n", target="a:b", config="a:c")] * 2')),
        "bad-spec", "returned 'n' twice", "fix or remove",
    ),
    "hook-raises": Fault(
        good("bad", body="@hookimpl\ndef repcore_encoders():\n    raise RuntimeError('in a hook')\n"),
        "bad-spec", "RuntimeError: in a hook", "pip uninstall repcore-bad",
    ),
    "hook-exits": Fault(
        good("bad", body="@hookimpl\ndef repcore_encoders():\n    raise SystemExit(9)\n"),
        "bad-spec", "SystemExit: 9", "pip uninstall repcore-bad",
    ),
    "missing-dependency": Fault(
        good("bad", body=encoder(needs=("no_such_module_xyz",), hints={"no_such_module_xyz": "pip install the-thing"})),
        "missing-dependency", "no module 'no_such_module_xyz'", "pip install the-thing",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def only_fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real plugins are switched off, so that these tests say the same whatever is installed."""
    monkeypatch.setenv("REPCORE_PLUGINS", "core")
    yield
    registry.default.cache_clear()


@pytest.fixture
def neighbours(make_distribution: MakeDistribution) -> MakeDistribution:
    """A good plugin before and one after the broken one in loading order."""

    def make(name: str, source: str = "", **rest: Any) -> Path:
        os.environ["REPCORE_PLUGINS"] += "," + rest.get("entry", name.removeprefix("repcore-"))
        return make_distribution(name, source, **rest)

    make("repcore-alpha", good("alpha"), module="fake_alpha")
    make("repcore-zeta", good("zeta"), module="fake_zeta")
    return make


def install(make: MakeDistribution, fault: Fault) -> None:
    make("repcore-bad", fault.source, module="bad", requires=fault.requires)
    registry.refresh()


def of(records: list[PluginRecord], name: str) -> PluginRecord:
    (found,) = [one for one in records if one.name == name]
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_plugin_is_named_and_hurts_nobody_else(name: str, neighbours: MakeDistribution) -> None:
    fault = FAULTS[name]
    install(neighbours, fault)
    records = load_plugins()
    bad = of(records, "bad")
    assert (bad.status, fault.problem in bad.problem) == (fault.status, True), bad.problem
    assert fault.remedy in bad.remedy
    for other in ("alpha", "zeta"):
        assert of(records, other).status == "ok"
        assert registry.Registry(records).encoder(f"{other}/net").plugin.name == other
    if fault.status not in plugins.WORKING:
        assert not bad.specs


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_explains_and_fails_while_list_goes_on(
    name: str, neighbours: MakeDistribution, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    install(neighbours, fault)
    assert command_line.run(["plugins", "--doctor"]) == 1
    explained = capsys.readouterr().out
    for words in ("bad", fault.status, fault.problem, fault.remedy):
        assert words in explained
    assert command_line.run(["list", "encoders", "--json"]) == 0
    listed = capsys.readouterr()
    assert {"alpha/net", "zeta/net"} <= {row["name"] for row in json.loads(listed.out)}
    (warning,) = listed.err.strip().splitlines()
    assert "plugin 'bad'" in warning
    assert "repcore plugins --doctor" in warning


@pytest.mark.parametrize("name", FAULTS)
def test_strict_mode_raises(name: str, neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch) -> None:
    install(neighbours, FAULTS[name])
    monkeypatch.setenv("REPCORE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"bad.*is not in order") as raised:
        load_plugins()
    assert FAULTS[name].problem in str(raised.value)


def test_doctor_json_is_clean_and_complete(neighbours: MakeDistribution, capsys: pytest.CaptureFixture[str]) -> None:
    install(neighbours, FAULTS["import-error"])
    assert command_line.run(["plugins", "--doctor", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    (bad,) = [one for one in shown["plugins"] if one["name"] == "bad"]
    assert bad["status"] == "import-error"
    assert bad["where"].endswith("_plugin.py:1")
    assert bad["remedy"]


def test_doctor_is_content_with_good_plugins(neighbours: MakeDistribution, capsys: pytest.CaptureFixture[str]) -> None:
    registry.refresh()
    assert command_line.run(["plugins", "--doctor"]) == 0
    assert "all plugins are in order" in capsys.readouterr().out


def test_a_slow_plugin_is_named_but_no_failure(
    neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = "    while time.thread_time() - started < 0.15:\n        pass\n"
    body = (
        f"@hookimpl\ndef repcore_encoders():\n    import time\n    started = time.thread_time()\n{work}    return []\n"
    )
    install(neighbours, Fault(good("bad", body=body), "slow", "", ""))
    assert command_line.run(["plugins", "--doctor"]) == 0
    shown = capsys.readouterr().out
    assert "slow" in shown
    assert "importtime" in shown
    monkeypatch.setenv("REPCORE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="slow"):
        load_plugins()


def test_waiting_for_a_busy_machine_makes_no_plugin_slow(neighbours: MakeDistribution) -> None:
    body = "@hookimpl\ndef repcore_encoders():\n    import time\n    time.sleep(0.15)\n    return []\n"
    neighbours("repcore-bad", good("bad", body=body), module="bad")
    (bad,) = [one for one in load_plugins() if one.name == "bad"]
    assert bad.status == "ok"


def test_two_distributions_with_one_plugin_name(neighbours: MakeDistribution) -> None:
    neighbours("a-stranger", good("bad"), module="stranger", entry="bad")
    neighbours("repcore-bad", good("bad"), module="bad")
    first, second = (one for one in load_plugins() if one.name == "bad")
    assert (first.distribution, first.status) == ("repcore-bad", "ok"), "the first-party one wins"
    assert (second.distribution, second.status) == ("a-stranger", "duplicate")
    assert "repcore-bad" in second.problem
    assert second.remedy == "pip uninstall a-stranger"
    assert not second.specs


def test_one_distribution_installed_twice(
    neighbours: MakeDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours("repcore-bad", good("bad"), module="bad")
    stale = tmp_path / "stale"
    write_distribution(stale, "repcore-bad", "bad._plugin", version="0.9")
    monkeypatch.setattr(sys, "path", [*sys.path, str(stale)])
    importlib.invalidate_caches()
    first, second = (one for one in load_plugins() if one.name == "bad")
    assert (first.status, first.version) == ("ok", "1.0")
    assert second.status == "duplicate"
    assert "installed twice" in second.problem
    assert str(stale) in second.remedy


def test_two_plugins_with_one_spec_name(neighbours: MakeDistribution, capsys: pytest.CaptureFixture[str]) -> None:
    neighbours(
        "a-stranger", good("alpha").replace("alpha.code:Net", "stranger.code:Net"), module="other", entry="other"
    )
    known = registry.refresh()
    assert known.encoder("alpha/net").plugin.name == "alpha"
    assert known.encoder("other:alpha/net").spec.target == "stranger.code:Net"
    assert len(known.entries("encoder", "alpha")) == 1
    other = of(known.records, "other")
    assert other.status == "duplicate"
    for words in ("alpha.code:Net", "stranger.code:Net", "alpha's"):
        assert words in other.problem
    assert "other:alpha/net" in other.remedy
    assert command_line.run(["plugins", "--doctor"]) == 1
    assert "stranger.code:Net" in capsys.readouterr().out


def test_third_party_cannot_shadow_a_first_party_name_by_sorting_first(neighbours: MakeDistribution) -> None:
    neighbours("aaa", good("zeta"), module="aaa", entry="other")
    assert registry.refresh().encoder("zeta/net").plugin.distribution == "repcore-zeta"


@pytest.mark.parametrize(
    ("variable", "value", "left"),
    [("REPCORE_PLUGINS", "zeta", {"zeta"}), ("REPCORE_DISABLE_PLUGINS", "zeta, core", {"alpha"})],
)
def test_switching_plugins_off_by_environment(
    variable: str, value: str, left: set[str], neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    known = registry.refresh()
    assert set(known.domains()) == left
    (off,) = {"alpha", "zeta"} - left
    assert of(known.records, off).status == "disabled"
    with pytest.raises(RegistryError, match="disabled"):
        known.encoder(f"{off}/net")


def test_no_plugin_option(
    neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPCORE_DISABLE_PLUGINS", "")
    install(neighbours, FAULTS["system-exit"])
    assert command_line.run(["--no-plugin", "bad", "--no-plugin", "zeta", "list", "encoders", "--json"]) == 0
    shown = capsys.readouterr()
    assert not shown.err
    assert [row["name"] for row in json.loads(shown.out)] == ["alpha/net"]


def test_a_misspelt_plugin_name_is_said(
    neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPCORE_DISABLE_PLUGINS", "")
    assert command_line.run(["--no-plugin", "zetta", "list", "encoders", "--json"]) == 0
    shown = capsys.readouterr()
    assert "no plugin is called 'zetta'" in shown.err
    assert "did you mean zeta?" in shown.err
    assert [row["name"] for row in json.loads(shown.out)] == ["alpha/net", "zeta/net"]


def test_a_disabled_plugin_is_not_even_imported(neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch) -> None:
    install(neighbours, FAULTS["system-exit"])
    monkeypatch.setenv("REPCORE_DISABLE_PLUGINS", "bad")
    monkeypatch.setenv("REPCORE_STRICT_PLUGINS", "1")
    sys.modules.pop("bad._plugin", None)
    assert of(load_plugins(), "bad").status == "disabled"
    assert "bad._plugin" not in sys.modules


def test_keyboard_interrupt_is_not_swallowed(neighbours: MakeDistribution) -> None:
    neighbours("repcore-bad", "raise KeyboardInterrupt", module="bad")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ("repcore>=0.1,<0.2", True),
        ("repcore (<0.2,>=0.1)", True),
        ("repcore", True),
        ("repcore[all]>=0.1", True),
        ("repcore~=0.1.0", True),
        ("repcore>=0.1.0.0", True),
        ("repcore>=0.2", False),
        ("repcore<0.1.5", False),
        ("repcore!=0.1.5", False),
        ("repcore-audio>=9", True),
        ("repcore>=9; extra == 'all'", True),
        ("repcore>=9; python_version > '3'", False),
    ],
)
def test_requirement_on_core(
    line: str, met: bool, neighbours: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "core_version", lambda: "0.1.5")
    neighbours("repcore-bad", good("bad"), module="bad", requires=(line,))
    assert (of(load_plugins(), "bad").status == "ok") is met


def test_loading_order_is_by_name_not_by_file_system() -> None:
    given = [Candidate(name, "no.such", "d", "1", "") for name in ("b", "a")]
    assert [one.name for one in load_plugins(given)] == [plugins.BUILT_IN, "b", "a"], "the caller's order is kept"
    found = [one.name for one in plugins.find_candidates()]
    assert found == sorted(found)


def test_reserved_words_are_exactly_the_core_commands() -> None:
    assert set(command_line.COMMANDS) <= plugins.RESERVED_DOMAINS
    assert set(command_line.DOMAIN_COMMANDS) == plugins.RESERVED_COMMANDS


def test_a_broken_plugin_does_not_stop_help_in_a_fresh_process(neighbours: MakeDistribution, tmp_path: Path) -> None:
    install(neighbours, FAULTS["system-exit"])
    site = str(tmp_path / "site")
    program = f"import sys; sys.path.insert(0, {site!r}); from repcore.cli.main import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Domains" in done.stdout
    assert "Traceback" not in done.stderr
