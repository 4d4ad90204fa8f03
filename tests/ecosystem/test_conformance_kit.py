"""The conformance kit: green on good plugins, and each check shown to catch a bug planted for it."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repcore import registry
from repcore.cli import main as command_line
from repcore.errors import ConfigError, PluginError, RegistryError
from repcore.interfaces import Item
from repcore.plugins import PluginRecord
from repcore.registry import Entry
from repcore.specs import SPEC_TYPES, CheckpointSpec, EncoderSpec
from repcore.testing import Report, check_plugin, checkpoint_checks, deep, encoder_checks, limits, plugin_checks
from repcore.testing.capability_checks import CHECKS as CAPABILITY_CHECKS  # planted in test_capability_checks.py
from repcore.testing.catalogue import all_checks
from repcore.testing.check import Check, CheckFailedError
from repcore.testing.checkpoint_checks import CheckpointSubject
from repcore.testing.deep import PluginSubject, Trial, failing_targets, import_problems
from repcore.testing.kit import find_plugin, plan, run_check
from repcore.testing.plan import KINDS, DueCheck
from repcore.testing.pytest_plugin import parametrize_checks
from repcore.testing.report import CheckResult
from tests.conftest import MakeDistribution
from tests.ecosystem import (  # their plants add themselves
    planted_after_training,  # noqa: F401
    planted_bugs,  # noqa: F401
    planted_by_an_attacker,  # noqa: F401
    planted_by_strangers_in_data,  # noqa: F401
    planted_elements,  # noqa: F401
    planted_in_data,  # noqa: F401
)
from tests.ecosystem.planted_by_strangers import TWENTY
from tests.ecosystem.planting import PLANTED, Plant, changed_spec
from tests.toys.toy_pairs import code

PAIRS, EDGES = "tests.toys.toy_pairs._plugin", "tests.toys.toy_edges._plugin"
ALL_CHECKS = all_checks()
UNCHECKED = {"system"}  # names others (names-valid) and replays golden data (repcore verify): no behaviour of its own
CAUGHT_BELOW = {"listing-is-light", "api-version", "sniff-in-range"}  # planted in tests of their own in this file
CAUGHT_AT_ELEMENTS = {  # planted in test_element_checks.py and test_exact_labels.py
    "labelled-item-of-labels",
    "metric-of-elements",
    "element-labels-unrounded",
}
CAUGHT_IN_MODELS = {"model-loads", "model-tells"}  # planted in test_boxed_models.py
CAUGHT_IN_DISTRIBUTIONS = {  # planted in test_planted_distributions.py
    "imports-declared",
    "no-side-effects",
    "wheel-has-data-files",
    "op-twins-agree",
    "op-choices-exist",
    "every-key-accounted",
    "weights-complete",
}


@pytest.fixture(autouse=True)
def only_toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real plugins stay out, so that this file says the same whatever is installed."""
    monkeypatch.setenv("REPCORE_PLUGINS", "toy_pairs,toy_edges,pairs,edges,fake")
    registry.default.cache_clear()
    yield
    registry.default.cache_clear()


def due(target: str = PAIRS, level: str = "full") -> list[DueCheck]:
    known, record = find_plugin(target)
    return plan(known, record, level)  # type: ignore[arg-type]


@parametrize_checks(PAIRS, level="full")
def test_ragged_pairs_pass(check) -> None:  # type: ignore[no-untyped-def]
    check()


@parametrize_checks(EDGES, level="full")
def test_graphs_with_edge_tokens_pass(check) -> None:  # type: ignore[no-untyped-def]
    check()


PLANTS = [(check, one) for check, several in PLANTED.items() for one in several]


@pytest.mark.parametrize(("check", "bug"), PLANTS, ids=[f"{check}-{one.__name__}" for check, one in PLANTS])
def test_a_planted_bug_is_caught(check: str, bug: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    results = [run_check(one) for one in due() if one.check.id == check]
    assert "failed" in {one.status for one in results}, [(one.target, one.status, one.message) for one in results]


def test_a_view_that_draws_nothing_may_be_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its points from the last to the first: another view of the sample, the same every time."""
    built = code.Jitter.build

    def build(self: code.Jitter, index: int, reader: Any, *rest: Any) -> dict[str, Item]:
        fixed = Item(reader[index].inputs[::-1].copy(), {"points": len(reader[index].inputs)})
        return {"a": built(self, index, reader, *rest)["a"], "b": fixed}

    monkeypatch.setattr(code.Jitter, "build", build)
    (undeclared,) = [run_check(one) for one in due() if one.check.id == "views-from-the-generator"]
    assert "ViewsSpec.fixed" in undeclared.message
    changed_spec(monkeypatch, "repcore_views", fixed=("b",))
    found = [run_check(one) for one in due() if one.check.id in ("views-from-the-generator", "views-distinct")]
    assert [one.status for one in found] == ["passed", "passed"]


def test_every_check_has_a_planted_bug() -> None:
    elsewhere = (
        CAUGHT_BELOW
        | CAUGHT_IN_DISTRIBUTIONS
        | CAUGHT_IN_MODELS
        | CAUGHT_AT_ELEMENTS
        | {one.id for one in CAPABILITY_CHECKS.values()}
    )
    assert {one.id for one in ALL_CHECKS} - elsewhere == set(PLANTED) - {"has-recipe-or-example"}
    assert len(PLANTS) >= 20
    assert {one.name for one in due()} >= {f"{one.id}@encoder pairs/set-net" for one in encoder_checks.CHECKS}


def test_what_a_stranger_planted_is_caught_by_name() -> None:
    """Each of these is caught by the check it is planted for (above); here: that none was taken away."""
    by_name = {bug.__name__: check for check, bug in PLANTS}
    assert by_name.keys() >= TWENTY
    assert len(TWENTY) >= 20
    assert len({by_name[name] for name in TWENTY}) >= 15  # many kinds of checks, not one that sees everything


def test_every_kind_of_spec_is_checked() -> None:
    """A new kind of spec without checks shows up here."""
    assert set(KINDS) | UNCHECKED == {spec.kind for spec in SPEC_TYPES}


def wait() -> None:
    time.sleep(60)


def compute() -> None:
    while True:
        pass


@pytest.mark.parametrize("hang", [wait, compute])
def test_a_check_that_hangs_is_ended_and_never_green(hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAITING", 2.0)
    monkeypatch.setitem(limits.SECONDS, "fast", 0.3)
    limits.slowness()  # measured outside the limit
    started = time.monotonic()
    result = run_check(DueCheck(Check("hangs", lambda subject: hang()), "plugin x", None))
    assert (result.status, result.seconds > 0.2) == ("timed-out", True)
    assert time.monotonic() - started < 30
    assert not Report("x", "fast", 1, [result]).ok
    assert "no end after" in result.message


def test_limits_follow_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALIBRATION_SECONDS", 1e-4)
    slow = limits.slowness.__wrapped__()
    monkeypatch.setattr(limits, "CALIBRATION_SECONDS", 1e3)
    assert slow > 2.0
    assert limits.slowness.__wrapped__() == 1.0  # a fast machine is not asked for more
    kept = signal.getsignal(signal.SIGALRM)
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with limits.limited(30.0):
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= 1.0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(before, abs=30.0)  # somebody else's goes on
    assert signal.getsignal(signal.SIGALRM) is kept


def test_a_heavy_listing_is_caught(make_distribution: MakeDistribution) -> None:
    source = "import numpy\nfrom repcore.hooks import hookimpl\n"
    make_distribution("fake", source, module="fake_heavy")
    record = PluginRecord("fake", "fake_heavy._plugin")
    with pytest.raises(CheckFailedError, match="imports numpy"):
        plugin_checks.listing_is_light(PluginSubject(registry.Registry([]), record))


@pytest.mark.parametrize("work", ["time.sleep(0.4)", "while time.process_time() < 2.0: pass"])
def test_a_slow_listing_is_caught(
    work: str, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAITING", 3.0)
    monkeypatch.setattr(limits, "slowness", lambda: 1.0)
    make_distribution("fake", f"import time\n{work}\n", module="fake_slow")
    subject = PluginSubject(registry.Registry([]), PluginRecord("fake", "fake_slow._plugin"))
    with pytest.raises(CheckFailedError, match="limit 100 ms"):
        plugin_checks.listing_is_light(subject)


def test_neighbours_slow_down_no_listing(make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that waits for the processor, or runs on a slow one, is not a heavy one."""
    make_distribution("fake", "import time\ntime.sleep(0.3)\n", module="fake_waits")
    subject = PluginSubject(registry.Registry([]), PluginRecord("fake", "fake_waits._plugin"))
    monkeypatch.setattr(limits, "slowness", lambda: 1.0)
    plugin_checks.listing_is_light(subject)  # 300 ms in all, hardly any of computing
    monkeypatch.setattr(limits, "WAITING", 0.01)
    with pytest.raises(CheckFailedError, match="limit 100 ms"):
        plugin_checks.listing_is_light(subject)
    monkeypatch.setattr(limits, "slowness", lambda: 1e4)
    plugin_checks.listing_is_light(subject)


@pytest.mark.parametrize("version", [0, 99])
def test_another_contract_version_is_caught(version: int) -> None:
    known, record = find_plugin(PAIRS)
    assert record.info is not None
    other = dataclasses.replace(record, info=dataclasses.replace(record.info, api_version=version))
    with pytest.raises(CheckFailedError, match=f"contract {version}"):
        plugin_checks.api_version(PluginSubject(known, other))


@pytest.mark.parametrize(
    ("answer", "words"), [("2.0", "a number in"), ("'yes'", "a number in"), ("1.0", "claims a file")]
)
def test_a_wrong_sniffer_is_caught(answer: str, words: str, make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", "", module="fake_sniff")
    (site / "fake_sniff.py").write_text(f"def sniff(keys):\n    return {answer}\n")
    spec = CheckpointSpec(name="weights", target="fake_sniff:convert", sniff="fake_sniff:sniff")
    entry = Entry("fake/weights", spec, PluginRecord("fake", "fake_sniff"))
    try:
        with pytest.raises(CheckFailedError, match=words):
            checkpoint_checks.sniff_is_a_share(CheckpointSubject(registry.Registry([]), entry))
    finally:
        import sys

        sys.modules.pop("fake_sniff", None)


# ------------------------------------------------------------------------------- counting and reporting


def test_a_report_counts_due_against_ran() -> None:
    passed = CheckResult("one", "plugin x", "passed", 0.1)
    assert Report("x", "fast", 1, [passed]).ok
    fewer = Report("x", "fast", 2, [passed])
    assert not fewer.ok
    assert "1 without a result" in fewer.summary()
    for status in ("failed", "not-run", "unexpected-pass"):
        bad = Report("x", "fast", 2, [passed, CheckResult("two", "plugin x", status, 0.0, "because")])  # type: ignore[arg-type]
        assert not bad.ok
        assert "because" in bad.table().splitlines()[-2]
        with pytest.raises(PluginError, match="because"):
            bad.raise_for_failures()
    fine = Report("x", "fast", 2, [passed, CheckResult("two", "plugin x", "expected", 0.0, "known")])
    assert fine.ok
    assert json.loads(fine.to_json())["counts"] == {"passed": 1, "expected": 1}


def test_expected_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    (bug,) = PLANTED["needs-have-hints"]
    bug(monkeypatch)
    (check,) = (one for one in due(level="fast") if one.check.id == "needs-have-hints")
    assert run_check(check).status == "failed"
    expected = run_check(check, "torch is always there")
    assert (expected.status, "torch is always there" in expected.message) == ("expected", True)
    (fine,) = (one for one in due(level="fast") if one.check.id == "api-version")
    assert run_check(fine, "thought it would fail").status == "unexpected-pass"
    with pytest.raises(ConfigError, match="needs-have-hnits"):
        check_plugin(PAIRS, expected_failures={"needs-have-hnits": "a typing error"})


def test_what_cannot_be_built_counts_as_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, config: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(code.SetNet, "__init__", refuse)
    results = [run_check(one) for one in due() if one.target == "encoder pairs/set-net"]
    assert {one.status for one in results} == {"not-run"}
    assert "no such layer" in results[0].message
    assert not Report("x", "full", len(results), results).ok


def test_a_missing_optional_module_is_a_skip_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.toys.toy_pairs._plugin.repcore_encoders", _encoders_with_need())
    skipped = [run_check(one) for one in due() if one.target == "encoder pairs/set-net"]
    assert {one.status for one in skipped} == {"skipped"}
    assert "pip install the-thing" in skipped[0].message


def _encoders_with_need():  # type: ignore[no-untyped-def]
    from tests.toys.toy_pairs import _plugin

    need = {"needs": ("no_such_module_xyz",), "hints": {"no_such_module_xyz": "pip install the-thing"}}
    specs = [dataclasses.replace(one, **need) for one in _plugin.repcore_encoders()]
    return _plugin.hookimpl(lambda: specs)


def test_checks_leave_global_random_states_alone() -> None:
    import numpy as np
    import torch

    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy state is what is looked at
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    for one in due(level="fast"):
        if "pairs/two-views" in one.target:
            run_check(one)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002


def test_unknown_plugin_and_level() -> None:
    with pytest.raises(RegistryError, match="no plugin 'moleculs'"):
        check_plugin("moleculs")
    with pytest.raises(ConfigError, match="thorough"):
        check_plugin(PAIRS, level="thorough")  # type: ignore[arg-type]


def test_command_line(toys: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Trial([], [])  # importing takes seconds, and is tested for itself
    monkeypatch.setattr(deep, "try_imports", lambda record: nothing)
    assert command_line.run(["plugins", "check", "pairs", "--json"]) == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert shown["ok"] is True
    told = [line for line in printed.err.splitlines() if line.startswith("check ")]
    assert len(told) == shown["due"]
    first, last = shown["results"][0], shown["results"][-1]
    assert told[0] == f"check 1 of {shown['due']}: {first['id']}, {first['target']}"
    assert told[-1] == f"check {shown['due']} of {shown['due']}: {last['id']}, {last['target']}"
    assert len(shown["results"]) == shown["due"] > 40
    PLANTED["loss-terms-sum-to-total"][0](monkeypatch)
    assert command_line.run(["plugins", "check", "pairs"]) == 1
    assert "the weighted terms add up to" in capsys.readouterr().out
    assert command_line.run(["plugins", "check", "nobody"]) == 2
    assert "no plugin 'nobody'" in capsys.readouterr().err


# --------------------------------------------------------------------------------------- deep imports


@pytest.fixture
def deadly(make_distribution: MakeDistribution) -> Path:
    """Modules that fail at import in all the ways there are."""
    site = make_distribution("fake", "", module="fake_deep")
    folder = site / "deadly"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "segfault.py").write_text("import ctypes\nctypes.string_at(0)\n")
    (folder / "quits.py").write_text("import os\nos._exit(7)\n")
    (folder / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    (folder / "computes.py").write_text("while True:\n    pass\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "raises.py").write_text("print('noise on stdout')\nprint('{}')\nraise ValueError('boom')\n")
    (folder / "fine.py").write_text("thing = 1\n")
    return site


def test_imports_that_kill_or_hang_are_reported_and_the_rest_goes_on(
    deadly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["segfault", "quits", "fine", "exits", "raises", "hangs", "computes", "missing"]
    monkeypatch.setattr(limits, "slowness", lambda: 1.0)
    found = dict(failing_targets([f"deadly.{name}:thing" for name in names], timeout=1.5))
    assert "signal 11" in found["deadly.segfault:thing"]
    assert "exit code 7" in found["deadly.quits:thing"]
    assert "SystemExit: 3" in found["deadly.exits:thing"]
    assert "ValueError: boom" in found["deadly.raises:thing"]
    assert "nothing was computed for" in found["deadly.hangs:thing"]
    assert "s of computing" in found["deadly.computes:thing"]
    assert "ModuleNotFoundError" in found["deadly.missing:thing"]
    assert "deadly.fine:thing" not in found


def test_doctor_deep_names_the_spec(deadly: Path) -> None:
    spec = EncoderSpec(name="net", target="deadly.segfault:thing", config="deadly.fine:thing")
    record = PluginRecord("fake", "fake_deep", specs=[spec])
    (problem,) = import_problems(record)
    assert problem.startswith("encoder fake/net, target = deadly.segfault:thing")
    assert "signal 11" in problem


def test_doctor_deep_command(
    make_distribution: MakeDistribution, deadly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "from repcore.hooks import hookimpl\nfrom repcore.specs import *\n"
        "@hookimpl\ndef repcore_plugin_info():\n    return PluginInfo(title='F', domain='fake', api_version=1)\n"
        "@hookimpl\ndef repcore_encoders():\n"
        "    return [EncoderSpec(name='net', target='deadly.segfault:thing', config='deadly.fine:thing')]\n"
    )
    make_distribution("fake-two", source, module="fake_two", entry="fake")
    (deadly / "fake-1.0.dist-info" / "entry_points.txt").unlink()
    registry.refresh()
    assert command_line.run(["plugins", "--doctor"]) == 0
    capsys.readouterr()
    assert command_line.run(["plugins", "--doctor", "--deep"]) == 1
    assert "encoder fake/net, target = deadly.segfault:thing" in capsys.readouterr().out
