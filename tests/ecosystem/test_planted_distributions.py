"""Bugs planted into distributions, ops and converters of weights: each is caught by a named check."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from repcore import registry
from repcore.checkpoints.imported import Imported
from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename
from repcore.plugins import PluginRecord
from repcore.registry import Entry, Registry
from repcore.specs import CheckpointSpec, EncoderSpec, OpSpec
from repcore.testing import checkpoint_checks, distribution_checks, op_checks
from repcore.testing.check import CheckFailedError, NotJudgedError
from repcore.testing.checkpoint_checks import CheckpointSample, CheckpointSubject
from repcore.testing.deep import PluginSubject
from repcore.testing.op_checks import OpSubject
from tests.conftest import MakeDistribution
from tests.toys.toy_pairs.code import SetNet
from tests.toys.toy_pairs.configs import SetNetConfig

INFO = (
    "from repcore.hooks import hookimpl\nfrom repcore.specs import *\n"
    "@hookimpl\ndef repcore_plugin_info():\n"
    "    return PluginInfo(title='F', domain='fake', api_version=1, summary='a fake')\n"
)


def subject(module: str, distribution: str = "fake", target: str = "") -> PluginSubject:
    """A plugin as the checks see it."""
    record = PluginRecord("fake", f"{module}._plugin", distribution)
    if target:
        record.specs.append(EncoderSpec(name="net", target=target, config=target))
    return PluginSubject(registry.Registry([]), record)


# --------------------------------------------------------------------------------------- distributions


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pytest\n", "pytest (code.py:1)"),
        ("def late():\n    import hypothesis.strategies\n", "hypothesis (code.py:2)"),
        ("import no_such_module_xyz\n", "no_such_module_xyz"),
        ("import torch, numpy, json\nfrom repcore import ops\nfrom . import other\n", ""),
        ("try:\n    import pytest\nexcept ImportError:\n    pytest = None\n", ""),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pytest\n", ""),
    ],
)
def test_an_undeclared_dependency_is_caught(source: str, found: str, make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", INFO, module="fake_imports")
    (site / "fake_imports" / "code.py").write_text(source)
    if not found:
        distribution_checks.imports_declared(subject("fake_imports"))
        return
    with pytest.raises(CheckFailedError) as failure:
        distribution_checks.imports_declared(subject("fake_imports"))
    assert found in str(failure.value)


def test_a_declared_dependency_is_fine(make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", INFO, module="fake_declares", requires=("pytest>=7; extra == 'more'",))
    (site / "fake_declares" / "code.py").write_text("import pytest\n")
    distribution_checks.imports_declared(subject("fake_declares"))
    with pytest.raises(NotJudgedError):
        distribution_checks.imports_declared(subject("fake_declares", distribution=""))


def test_an_op_may_import_the_package_its_implementation_is_named_after(make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", INFO, module="fake_twin")
    (site / "fake_twin" / "code.py").write_text("import no_such_kernels\n")
    plugin = subject("fake_twin")
    with pytest.raises(CheckFailedError, match="no_such_kernels"):
        distribution_checks.imports_declared(plugin)
    usable = {"no-such-kernels": "fake_twin.code:why_not"}
    plugin.record.specs.append(OpSpec(name="fast", reference="a:b", implementations=usable, usable=usable))
    distribution_checks.imports_declared(plugin)


def test_side_effects_of_an_import_are_caught(make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", INFO, module="fake_effects")
    (site / "fake_effects" / "code.py").write_text(
        "import logging, os, random, torch\nos.environ['CUDA_VISIBLE_DEVICES'] = '7'\n"
        "random.random()\ntorch.manual_seed(1)\nos.chdir('/')\n"
        "torch.set_default_dtype(torch.float64)\nlogging.basicConfig(level=10)\nthing = 1\n"
    )
    with pytest.raises(CheckFailedError) as failure:
        distribution_checks.no_side_effects(subject("fake_effects", target="fake_effects.code:thing"))
    for words in (
        "working directory",
        "the environment",
        "Python's random",
        "torch's random",
        "default dtype",
        "root logger",
    ):
        assert words in str(failure.value)


def test_a_data_file_missing_in_the_wheel_is_caught(make_distribution: MakeDistribution, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building needs the package hatchling")
    source = tmp_path / "project"
    package = source / "src" / "fake_wheel"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "_plugin.py").write_text(INFO)
    (package / "words.json").write_text("{}")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "fake"\nversion = "1.0"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/fake_wheel"]\nexclude = ["*.json"]\n'
    )
    sys.path.insert(0, str(package.parent))
    try:
        site = make_distribution("fake", module="fake_wheel")
        origin = {"url": source.as_uri(), "dir_info": {"editable": True}}
        (site / "fake-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
        with pytest.raises(CheckFailedError, match=r"1 files .* fake_wheel/words\.json"):
            distribution_checks.wheel_has_data_files(subject("fake_wheel"))
    finally:
        sys.path.remove(str(package.parent))
        sys.modules.pop("fake_wheel", None)


def test_an_installed_file_that_is_gone_is_caught(make_distribution: MakeDistribution) -> None:
    site = make_distribution("fake", INFO, module="fake_gone")
    with pytest.raises(NotJudgedError, match="no list of files"):
        distribution_checks.wheel_has_data_files(subject("fake_gone"))
    (site / "fake-1.0.dist-info" / "RECORD").write_text("fake_gone/_plugin.py,,\nfake_gone/words.json,,\n")
    with pytest.raises(CheckFailedError, match=r"gone: fake_gone/words\.json"):
        distribution_checks.wheel_has_data_files(subject("fake_gone"))


# --------------------------------------------------------------------------------------------------- ops

OPS = """
import torch
def plain(x):
    return x.square()
def wrong_value(x):
    return x.square() + 0.1 * (x.detach() > 1)
def wrong_gradient(x):
    return x.square().detach() + x - x.detach()
def right(x):
    return x * x
def cases(device, dtype):
    yield "some", (torch.tensor([0.5, 2.0], requires_grad=True),), {}
def priority(device, dtype, sizes):
    return ("rihgt",)
"""


@pytest.fixture
def op(make_distribution: MakeDistribution) -> Iterator[Callable[..., OpSubject]]:
    """An op of an installed plugin with one twin."""

    def make(twin: str, **more: str) -> OpSubject:
        spec = (
            f"[OpSpec(name='square', reference='fake_op.code:plain', implementations={{'twin': 'fake_op.code:{twin}'}}"
        )
        spec += "".join(f", {name}='fake_op.code:{value}'" for name, value in more.items()) + ")]"
        site = make_distribution("fake", INFO + f"@hookimpl\ndef repcore_ops():\n    return {spec}\n", module="fake_op")
        (site / "fake_op" / "code.py").write_text(OPS)
        registry.refresh()
        return OpSubject(registry.default().op("fake/square"))

    yield make
    registry.default.cache_clear()


@pytest.mark.parametrize("twin", ["wrong_value", "wrong_gradient"])
def test_an_op_whose_twin_differs_is_caught(twin: str, op: Callable[..., OpSubject]) -> None:
    with pytest.raises(CheckFailedError, match="twin is off by"):
        op_checks.twins_agree(op(twin, cases="cases"))


def test_an_op_that_agrees_passes_and_one_without_cases_does_not(op: Callable[..., OpSubject]) -> None:
    good = op("right", cases="cases")
    op_checks.twins_agree(good)
    op_checks.choices_exist(good)
    lost = OpSpec(name="square", reference="a:b", implementations={"twin": "a:c"})
    with pytest.raises(CheckFailedError, match="no cases"):
        op_checks.twins_agree(OpSubject(Entry("fake/square", lost, good.entry.plugin)))


def test_a_priority_that_names_nothing_is_caught(op: Callable[..., OpSubject]) -> None:
    with pytest.raises(CheckFailedError, match="rihgt"):
        op_checks.choices_exist(op("right", cases="cases", priority="priority"))


# ------------------------------------------------------------------------------------- published weights

RULES = (Drop("{rest*}.num_batches_tracked", "counts nothing here"), Rename("net.{rest*}", "{rest*}"))
CONFIG = SetNetConfig(point_width=2)


def published() -> dict[str, torch.Tensor]:
    return {f"net.{name}": value for name, value in SetNet(CONFIG).state_dict().items()}


def careful(state: dict[str, torch.Tensor], source: Path, options: dict[str, str]) -> Imported:
    expected = {name: one for name, one in SetNet(CONFIG).state_dict().items() if "num_batches" not in name}
    ours, report = KeyMap(RULES).apply(state, source=str(source), target="pairs/set-net", expected=expected)
    report.missing.append("norm.num_batches_tracked")
    return Imported(encoder_config=CONFIG, state=ours, report=report)


def silent(state: dict[str, torch.Tensor], source: Path, options: dict[str, str]) -> Imported:
    """Takes what it knows and forgets the rest."""
    known = SetNet(CONFIG).state_dict()
    ours = {name: state[f"net.{name}"] for name in known if f"net.{name}" in state}
    return Imported(
        encoder_config=CONFIG,
        state=ours,
        report=LoadReport("a", "b", renamed={f"net.{name}": name for name in ours}),
    )


def forgetful(state: dict[str, torch.Tensor], source: Path, options: dict[str, str]) -> Imported:
    """One published key is neither used nor mentioned."""
    done = careful(state, source, options)
    del done.report.dropped["net.norm.num_batches_tracked"]
    return done


def weights(converter: Callable[..., Imported]) -> CheckpointSubject:
    plugin = PluginRecord("pairs", "tests.toys.toy_pairs._plugin")
    net = EncoderSpec(
        name="set-net", target="tests.toys.toy_pairs.code:SetNet", config="tests.toys.toy_pairs.configs:SetNetConfig"
    )
    here = f"{__name__}:{converter.__name__}"
    spec = CheckpointSpec(name="set-net", target=here, sniff=here, encoder="set-net")
    plugin.specs.append(net)
    known = Registry([plugin])
    return CheckpointSubject(known, Entry("pairs/set-net", spec, plugin), CheckpointSample(published()))


def test_a_careful_converter_passes() -> None:
    report = weights(careful).convert(published()).report
    assert set(report.renamed) | set(report.dropped) == set(published())
    assert set(report.dropped) == {"net.norm.num_batches_tracked"} == {f"net.{name}" for name in report.missing}
    checkpoint_checks.every_key_accounted(weights(careful))
    checkpoint_checks.weights_complete(weights(careful))


def test_a_key_dropped_silently_is_caught() -> None:
    with pytest.raises(CheckFailedError, match="dropped without a word"):
        checkpoint_checks.every_key_accounted(weights(silent))
    with pytest.raises(CheckFailedError, match=r"not in the load report: net\.norm\.num_batches_tracked"):
        checkpoint_checks.every_key_accounted(weights(forgetful))


def test_a_missing_key_taken_as_nothing_is_caught() -> None:
    with pytest.raises(CheckFailedError, match="as if nothing were missing"):
        checkpoint_checks.weights_complete(weights(silent))


def test_without_a_sample_nothing_is_claimed() -> None:
    lonely = CheckpointSubject(registry.Registry([]), weights(careful).entry)
    with pytest.raises(NotJudgedError, match=r"check_plugin\(\.\.\., checkpoints="):
        checkpoint_checks.every_key_accounted(lonely)
