"""What others rely on stays as it is, and generated pages say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import build_wheels, reference
from tests.conftest import ROOT

REMEDY = "run: python scripts/reference.py, look at the difference, and mention in CHANGELOG.md what went away"
PLUGINS = [record.name for record in reference.first_party()]


def differences(path: Path, lines: list[str]) -> str:
    """Lines that went away and lines that are new, in the form of a patch."""
    frozen = (ROOT / path).read_text(encoding="utf-8").splitlines()
    gone, new = sorted(set(frozen) - set(lines)), sorted(set(lines) - set(frozen))
    return (
        "\n".join([f"{path}:", *(f"- {one}" for one in gone), *(f"+ {one}" for one in new), REMEDY])
        if gone or new
        else ""
    )


def test_the_interface_of_core_is_frozen() -> None:
    changed = differences(reference.FROZEN / "core.txt", reference.core_interface())
    assert not changed, changed


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_interface_of_a_plugin_is_frozen(plugin: str) -> None:
    (record,) = (one for one in reference.first_party() if one.name == plugin)
    path = reference.FROZEN / f"{plugin}.txt"
    assert (ROOT / path).is_file(), f"{path} is not there yet; {REMEDY}"
    changed = differences(path, reference.plugin_interface(record))
    assert not changed, changed


def test_the_list_holds_what_it_should() -> None:
    """Names, hooks, fields, flags: a kind of line that stopped being written would be frozen as absent."""
    kinds = {line.partition(" ")[0] for line in reference.core_interface()}
    assert kinds >= {"contract", "name", "interface", "hook", "field", "flag", "probe", "task", "writer"}
    assert "flag repcore DOMAIN train --resume" in reference.core_interface()


@pytest.mark.parametrize("page", list(reference.pages()), ids=lambda path: path.stem)
def test_generated_pages_are_up_to_date(page: Path) -> None:
    if page.stem == "differences" and {one.name for one in build_wheels.plugin_folders()} - set(PLUGINS):
        pytest.skip("the page needs every plugin of the repository to be installed")
    written = (ROOT / page).read_text(encoding="utf-8")
    assert written == reference.pages()[page](), f"{page} is out of date; {REMEDY}"


def test_a_table_survives_bars_and_line_ends() -> None:
    assert reference.table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n\n"
