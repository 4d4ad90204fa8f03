"""The pages in docs/ do what they say: every block is run, every link leads somewhere."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from repcore import registry
from tests.conftest import ROOT
from tests.ecosystem.documents import Reader, blocks, command_lines, unknown_part

TUTORIALS = ROOT / "docs" / "tutorials"
OF_NO_DOMAIN = ("write-a-plugin", "generic", "ema-teacher", "foreign-encoder", "from-python")
DOMAIN_PAGES = sorted(path.stem for path in TUTORIALS.glob("*.md") if path.stem not in OF_NO_DOMAIN)
README_PAGES = ["audio", "generic", "graphs", "medical3d", "molecules", "pointcloud", "timeseries"]
NEEDS = {"generic": "graphs"}  # whose data the page uses
READMES = sorted((ROOT / "plugins").glob("*/README.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "core" / "README.md",
    ROOT / "CONTRIBUTING.md",
    *READMES,
    *sorted((ROOT / "docs").rglob("*.md")),
]
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
@pytest.mark.parametrize("page", README_PAGES)
def test_the_five_commands_of_a_plugins_page(page: str, reader: Reader) -> None:
    if {page, NEEDS.get(page, page)} - set(registry.default().domains()):
        pytest.skip(f"the plugin {page} is not installed")
    blocks_of_the_page = 2 if page == "molecules" else 1  # molecules: a table of its own, too
    assert reader.follow(ROOT / "plugins" / page / "README.md") == blocks_of_the_page
    tables = [path for path in reader.folder.glob("*.csv") if path.name != "new.csv"]
    assert tables, "predict or apply wrote no table"
    with tables[0].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 3
    assert "ok" in {row["status"] for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_objective_every_domain(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    domains = {"molecules", "audio", "graphs", "pointcloud", "medical3d"}
    if not domains <= set(registry.default().domains()):
        pytest.skip("needs the plugins of all five domains")
    assert reader.follow(TUTORIALS / "generic.md") >= 10
    assert "generic/guess" in capsys.readouterr().out
    folders = {path.parent.parent for path in reader.folder.glob("runs/*/model/weights.safetensors")}
    runs = {folder.name for folder in folders if not folder.is_symlink()}  # runs/latest is a link to the last one
    assert runs == {f"{domain}-{objective}" for domain in domains for objective in ("pull", "guess")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_teacher_and_a_queue(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    if "graphs" not in registry.default().domains():
        pytest.skip("the plugin graphs is not installed")
    assert reader.follow(TUTORIALS / "ema-teacher.md") == 11
    shown = capsys.readouterr().out
    assert "stopped by Ctrl-C" in shown
    for check in ("teacher-has-no-grad", "ema-update-value", "queue-moves", "keys-from-the-teacher"):
        assert re.search(rf"{check}\s+objective graphs/moco\s+passed", shown), check


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_encoder_of_another_library(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    if "medical3d" not in registry.default().domains():
        pytest.skip("the plugin medical3d is not installed")
    pytest.importorskip("torchvision", reason="the encoder of the page is torchvision's")
    assert reader.follow(TUTORIALS / "foreign-encoder.md") == 11
    shown = capsys.readouterr().out
    assert "dropped: 4 (classifier.0.* (2), classifier.3.* (2)): classifier of ImageNet" in shown
    assert "random-init" in shown


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_embed_and_probe_from_python(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    if "molecules" not in registry.default().domains():
        pytest.skip("the plugin molecules is not installed")
    assert reader.follow(TUTORIALS / "from-python.md") == 6
    shown = capsys.readouterr().out
    assert re.search(r"molecules/\S+ 6 \['soluble'\]", shown)
    assert "trained" in shown
    assert (reader.folder / "runs" / "first" / "model" / "weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_recordings_to_selection_tables(reader: Reader) -> None:
    if "audio" not in registry.default().domains():
        pytest.skip("the plugin audio is not installed")
    assert reader.follow(ROOT / "docs" / "audio.md") == 2
    for number in range(2):
        table = reader.folder / "found" / f"{number}.wav.Table.1.selections.txt"
        assert table.read_text(encoding="utf-8").split("\t")[0] == "Selection"
    assert sorted(path.name for path in (reader.folder / "features").glob("*.npz")) == ["0.wav.npz", "1.wav.npz"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_look_into_it(reader: Reader) -> None:
    if "molecules" not in registry.default().domains():
        pytest.skip("the plugin molecules is not installed")
    assert reader.follow(ROOT / "docs" / "explore.md") >= 4
    with (reader.folder / "hits.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["id"] == "phenol", "the row that was asked with is most like itself"
    assert (reader.folder / "hits.html").read_text(encoding="utf-8").count('<div class="picture"') == 3


@pytest.mark.parametrize("page", README_PAGES)
def test_a_plugins_page_has_the_rooms_of_all(page: str) -> None:
    text = (ROOT / "plugins" / page / "README.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    middle = ["Objectives", "Estimators"] if page == "generic" else ["Parts", "What it learned"]
    assert titles == ["Five commands", *middle, "Limits"]
    commands = [line for block in blocks(ROOT / "plugins" / page / "README.md") for line in block.body.splitlines()]
    assert sum(line.startswith("repcore ") for line in commands) == 5


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_file()], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^    .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)  # SMILES look like links
    lost = [link for link in LINK.findall(prose) if not (page.parent / link).exists()]
    assert not lost


def test_every_page_is_linked_from_another() -> None:
    """A page that only the navigation knows is found by nobody who reads in the repository."""
    reached = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if (page.parent / link).resolve() != page.resolve()
    }
    start = ROOT / "docs" / "index.md"  # of the site
    lost = [page for page in (ROOT / "docs").rglob("*.md") if page.resolve() not in reached and page != start]
    assert not lost


SHOWN = [page for page in PAGES if page.is_file() and page.stem != "write-a-plugin"]  # that one makes its own domain


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_pages_exist(page: Path) -> None:
    """Those that no test runs, too: the command is there, with these options."""
    unknown = {" ".join(words): part for words in command_lines(page) if (part := unknown_part(words))}
    assert not unknown


def test_a_command_that_is_gone_is_noticed() -> None:
    assert unknown_part(["repcore", "embed", "runs/first", "my.csv", "-o", "vectors.parquet", "--level", "point"]) == ""
    assert unknown_part(["repcore", "embed", "runs/first", "my.csv", "--levle", "point"]) == "--levle"
    assert unknown_part(["repcore", "embedd", "runs/first"]) == "embedd"
    assert unknown_part(["repcore", "plugins", "check", "NAME", "--level", "full"]) == ""
    assert unknown_part(["repcore", "DOMAIN", "train", "RECIPE"]) == ""
    for domain in registry.default().domains():
        assert unknown_part(["repcore", domain, "trian", "x"]) == "trian"
