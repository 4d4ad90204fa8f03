"""Looking things up: short and full names, owners, near misses, and errors that say what to do."""

from __future__ import annotations

from email.message import Message

import pytest

from repcore import registry
from repcore.errors import PluginError, RegistryError
from repcore.plugins import PluginRecord
from repcore.registry import Entry, Registry, import_target
from repcore.specs import EncoderSpec, ObjectiveSpec, PluginInfo, ProbeSpec, RecipeSpec, Spec, TaskSpec


def record(name: str, *specs: Spec, domain: str = "", distribution: str = "", **fields: object) -> PluginRecord:
    info = PluginInfo(title=name, domain=domain or name, api_version=1)
    distribution = distribution or f"repcore-{name}"
    return PluginRecord(name, f"{name}._plugin", distribution, "1.0", info=info, specs=list(specs), **fields)  # type: ignore[arg-type]


def encoder(name: str, **fields: object) -> EncoderSpec:
    return EncoderSpec(**{"name": name, "target": "json:loads", "config": "json:dumps", **fields})  # type: ignore[arg-type]


@pytest.fixture
def known() -> Registry:
    return Registry(
        [
            record("core", ProbeSpec(name="linear@1", target="a:b", config="a:c")),
            record(
                "audio", encoder("state-net"), encoder("shared"), RecipeSpec(name="state-net", presets={"tiny": "a:b"})
            ),
            record("cloud", encoder("i2p-mae"), encoder("shared")),
            record("stranger", encoder("i2p-mae", target="json:dump"), domain="cloud", distribution="stranger"),
        ]
    )


@pytest.mark.parametrize("name", ["cloud/i2p-mae", "cloud/i2p_mae", "i2p-mae", "i2p_mae", "cloud:cloud/i2p-mae"])
def test_all_spellings_of_a_name(name: str, known: Registry) -> None:
    found = known.encoder(name)
    assert (found.full_name, found.plugin.name, found.domain) == ("cloud/i2p-mae", "cloud", "cloud")


def test_a_domain_decides_where_a_short_name_is_looked_for(known: Registry) -> None:
    assert known.encoder("shared", "cloud").full_name == "cloud/shared"
    assert known.encoder("shared", "audio").full_name == "audio/shared"
    assert known.encoder("audio/shared", "cloud").full_name == "audio/shared", "a full name is always itself"
    assert known.probe("linear@1", "audio").full_name == "linear@1", "core's own names have no domain"
    with pytest.raises(RegistryError, match="cloud/state-net"):
        known.encoder("state-net", "cloud")


def test_an_ambiguous_short_name_lists_the_candidates(known: Registry) -> None:
    with pytest.raises(RegistryError, match="ambiguous") as raised:
        known.encoder("shared")
    assert "audio/shared, cloud/shared" in str(raised.value)


def test_the_first_party_owner_wins_and_the_other_can_be_named(known: Registry) -> None:
    assert known.encoder("cloud/i2p-mae").plugin.name == "cloud"
    assert known.encoder("stranger:cloud/i2p-mae").spec.target == "json:dump"
    assert [one.full_name for one in known.entries("encoder", "cloud")] == ["cloud/i2p-mae", "cloud/shared"]
    with pytest.raises(RegistryError):
        known.encoder("nobody:cloud/i2p-mae")


def test_near_misses_and_what_is_installed(known: Registry) -> None:
    with pytest.raises(RegistryError) as raised:
        known.encoder("cloud/i2p-mea")
    assert str(raised.value).splitlines() == [
        "no encoder 'cloud/i2p-mea'",
        "  did you mean: cloud/i2p-mae",
        "  installed:    cloud/i2p-mae, cloud/shared",
    ]
    with pytest.raises(RegistryError, match="i2p-mae"):
        known.encoder("i2p-mea")
    assert isinstance(raised.value, KeyError)


def test_kinds_in_singular_and_plural(known: Registry) -> None:
    assert known.kind("Encoders") == known.kind("encoder") == "encoder"
    assert known.kind("views") == "views"
    with pytest.raises(RegistryError, match="no kind 'encodres'") as raised:
        known.entries("encodres")
    assert "encoder" in str(raised.value)


def test_find_looks_through_all_kinds(known: Registry) -> None:
    assert {one.spec.kind for one in known.find("audio/state-net")} == {"encoder", "recipe"}
    assert known.find("nothing") == []


def test_a_name_of_a_failed_plugin_says_so() -> None:
    failed = record("audio")
    failed.fail("import-error", "ModuleNotFoundError: No module named 'x'", "pip install x")
    with pytest.raises(RegistryError, match=r"belongs to plugin audio 1.0, which is not loaded") as raised:
        Registry([failed]).encoder("audio/state-net")
    assert "pip install x" in str(raised.value)


def test_a_domain_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch, known: Registry) -> None:
    monkeypatch.setattr(registry, "installable_domains", lambda: ["graphs"])
    with pytest.raises(RegistryError, match="not installed") as raised:
        known.encoder("graphs/net")
    assert 'pip install "repcore[graphs]"' in str(raised.value)


def test_an_extra_is_a_domain_only_when_it_asks_for_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    described = Message()
    for extra in ("all", "audio", "onnx", "search"):
        described["Provides-Extra"] = extra
    for line in (
        "torch>=2.6",
        'repcore[audio]; extra == "all"',
        'repcore-audio<0.2,>=0.1; extra == "audio"',
        'onnx>=1.16; extra == "onnx"',
        'usearch>=2.16; extra == "search"',
    ):
        described["Requires-Dist"] = line
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: described)
    assert registry.installable_domains() == ["audio"]


def test_domains_leave_out_core_and_what_failed(known: Registry) -> None:
    known.records.append(record("late"))
    known.records[-1].fail("import-error", "x", "y")
    assert known.domains() == ["audio", "cloud"]


# ------------------------------------------------------------------------------------------------ loading


def entry(**fields: object) -> Entry[EncoderSpec]:
    return Entry("audio/net", encoder("net", **fields), record("audio"))


def test_loading_a_target_and_an_entry_of_a_map() -> None:
    import json

    assert entry().load() is json.loads
    recipe = RecipeSpec(name="r", presets={"tiny": "json:dumps"})
    assert Entry("audio/r", recipe, record("audio")).load("presets", "tiny") is json.dumps


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_xyz:Net", "ModuleNotFoundError"),
        ("json:NoSuchName", "AttributeError"),
        ("antigravityless.nothing:Net", "cannot import"),
    ],
)
def test_a_target_that_cannot_be_imported_names_the_plugin(target: str, words: str) -> None:
    with pytest.raises(PluginError, match=words) as raised:
        entry(target=target).load()
    for one in (f"encoder audio/net: cannot import {target}", "audio 1.0 (repcore-audio)", "--doctor --deep"):
        assert one in str(raised.value)


def test_a_missing_optional_module_is_said_before_anything_is_imported() -> None:
    with pytest.raises(PluginError, match="needs no_such_module_xyz") as raised:
        entry(target="boom:Net", needs=("no_such_module_xyz",), hints={"no_such_module_xyz": "pip install it"}).load()
    assert "try:    pip install it" in str(raised.value)


def test_an_objectives_needs_are_capabilities_not_modules() -> None:
    spec = ObjectiveSpec(name="o", target="json:loads", config="json:dumps", needs=("masked-tokens",))
    assert callable(Entry("audio/o", spec, record("audio")).load())


def test_an_empty_field_is_an_error() -> None:
    with pytest.raises(PluginError, match="has no example"):
        entry().load("example")
    with pytest.raises(PluginError, match="has no presets 'paper'"):
        Entry("audio/r", RecipeSpec(name="r", presets={"tiny": "a:b"}), record("audio")).load("presets", "paper")


def test_import_target() -> None:
    import os.path

    assert import_target("os.path:join") is os.path.join


# -------------------------------------------------------------------------------------------------- specs


@pytest.mark.parametrize("name", ["Net", "my_net", "a/b", "-a", "a--b", "", "a@", "ä", "a b"])
def test_bad_names_are_refused_with_a_better_one(name: str) -> None:
    with pytest.raises(PluginError, match="is not a valid name"):
        encoder(name)


@pytest.mark.parametrize("target", ["a.b", "a:b.c", ":b", "a:", "a-b:c", "a:<lambda>", 3])
def test_bad_targets_are_refused(target: object) -> None:
    with pytest.raises(PluginError, match="is not a target"):
        encoder("net", target=target)


def test_a_probe_carries_a_version_and_a_recipe_its_default() -> None:
    with pytest.raises(PluginError, match="carries no version") as raised:
        ProbeSpec(name="linear", target="a:b", config="a:c")
    assert "linear@1" in str(raised.value)
    with pytest.raises(PluginError, match="not among its presets"):
        RecipeSpec(name="r", presets={"paper": "a:b"})
    assert TaskSpec(name="t", target="a:b", config="a:c").target_kind == "class"
