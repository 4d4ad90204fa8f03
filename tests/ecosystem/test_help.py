"""What `--help` says: every option is explained, every command shows how it is called, every domain has a page."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from repcore import registry
from repcore.data.split_plans import SPLIT_WORDS
from repcore.errors import RegistryError
from scripts import reference
from tests.conftest import ROOT


def every_command() -> list[tuple[str, click.Command]]:
    """Core's commands and those of all installed plugins."""
    own = [(f"repcore {one.domain} {one.spec.name}", one.load()) for one in registry.default().entries("command")]
    return [*reference.commands(), *own]


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{words} {option.opts[-1]}"
        for words, command in every_command()
        for option in command.params
        if isinstance(option, click.Option) and not (option.help or "").rstrip(".").strip()
    ]
    assert not silent


def test_every_command_shows_a_call_of_itself() -> None:
    for words, command in every_command():
        if words in ("repcore", "repcore plugins"):
            continue
        _, found, example = (command.help or "").partition("Example:")
        assert found, words
        assert f"{words} " in example.replace("\b", ""), words


@pytest.mark.parametrize("domain", registry.default().domains())
def test_every_domain_has_a_help_page(domain: str) -> None:
    shown = CliRunner().invoke(reference.root, [domain, "--help"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "Recipes:" in shown.output
    for one in registry.default().entries("recipe", domain):
        assert one.spec.name in shown.output


def test_the_fields_words() -> None:
    """docs/glossary.md says which; these came up before and mean the same."""
    sources = [path for folder in ("core", "plugins") for path in (ROOT / folder).rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in sources if "src" in path.parts}
    assert len(texts) > 300
    for path, text in texts.items():
        assert "yardstick" not in text.lower(), path
        assert ":,} weights" not in text, path


@pytest.mark.parametrize("domain", [one for one in registry.default().domains() if one != "generic"])
@pytest.mark.parametrize("verb", ["train", "finetune", "prepare"])
def test_examples_of_a_domain_can_be_copied(domain: str, verb: str) -> None:
    shown = CliRunner().invoke(reference.root, [domain, verb, "--help"], catch_exceptions=False).output
    _, _, example = shown.partition("Example:")
    assert f"repcore {domain} {verb} " in example
    assert "DOMAIN" not in shown
    recipes = [one.spec.name for one in registry.default().entries("recipe", domain)]
    if verb != "finetune" and recipes:
        assert f"repcore {domain} {verb} {recipes[0]} " in example


def test_an_objective_is_no_recipe() -> None:
    if "generic" not in registry.default().domains():
        pytest.skip("the plugin generic is not installed")
    with pytest.raises(RegistryError, match="found instead: objective generic/simclr") as told:
        registry.default().recipe("generic/simclr")
    assert told.value.facts["hint"] == "repcore DOMAIN train RECIPE objective=NAME"
    shown = CliRunner().invoke(reference.root, ["generic", "--help"], catch_exceptions=False).output
    assert "objective=NAME" in shown


@pytest.mark.parametrize("words", ["repcore probe", "repcore DOMAIN finetune"])
def test_every_word_of_a_split_is_named(words: str) -> None:
    command = dict(reference.commands())[words]
    (option,) = (one for one in command.params if isinstance(one, click.Option) and "--split" in one.opts)
    said = {one.rstrip(".,") for one in (option.help or "").split()}
    assert {one.replace("NAME,NAME", "GROUP,GROUP") for one in SPLIT_WORDS} <= said
