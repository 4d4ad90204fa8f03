"""The pages in docs/ do what they say: every block is run, every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from repcore import registry
from tests.conftest import ROOT
from tests.ecosystem.documents import Reader, blocks

TUTORIALS = ROOT / "docs" / "tutorials"
DOMAIN_PAGES = sorted(path.stem for path in TUTORIALS.glob("*.md") if path.stem not in ("write-a-plugin", "generic"))
READMES = sorted((ROOT / "plugins").glob("*/README.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *READMES, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    someone = Reader(tmp_path, monkeypatch)
    yield someone
    someone.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_an_empty_folder_to_a_plugin(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    if "molecules" not in registry.default().domains():
        pytest.skip("the last section needs the molecules plugin")
    assert reader.follow(TUTORIALS / "write-a-plugin.md") >= 25
    shown = capsys.readouterr().out
    assert "no_dna" in shown
    assert "triplets" in shown
    assert "dropped: 1 (step): a counter of training steps" in shown


def test_the_smallest_plugin_is_small() -> None:
    page = blocks(TUTORIALS / "write-a-plugin.md")
    code = [one.body for one in page if one.options.get("file", "").startswith("repcore-simcse/")]
    assert len(code) == 2
    lines = sum(1 for line in "\n".join(code).splitlines() if line.strip())
    assert lines < 40
    assert f"{lines} lines in two files" in (TUTORIALS / "write-a-plugin.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("domain", DOMAIN_PAGES)
def test_five_minutes(domain: str, reader: Reader) -> None:
    if domain not in registry.default().domains():
        pytest.skip(f"the plugin {domain} is not installed")
    assert reader.follow(TUTORIALS / f"{domain}.md") >= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_objective_every_domain(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    domains = {"molecules", "audio", "graphs", "pointcloud", "medical3d"}
    if not domains <= set(registry.default().domains()):
        pytest.skip("needs the plugins of all five domains")
    assert reader.follow(TUTORIALS / "generic.md") >= 10
    assert "generic/guess" in capsys.readouterr().out
    runs = {path.parent.parent.resolve().name for path in reader.folder.glob("runs/*/model/weights.safetensors")}
    assert runs == {f"{domain}-{objective}" for domain in domains for objective in ("pull", "guess")}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("domain", ["medical3d", "pointcloud"])
def test_the_five_commands_of_a_plugins_page(domain: str, reader: Reader) -> None:
    if domain not in registry.default().domains():
        pytest.skip(f"the plugin {domain} is not installed")
    assert reader.follow(ROOT / "plugins" / domain / "README.md") == 1
    assert any(reader.folder.glob("*.csv")), "predict wrote no table"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_file()], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^    .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)  # SMILES look like links
    lost = [link for link in LINK.findall(prose) if not (page.parent / link).exists()]
    assert not lost
