"""Build the documentation site into ``site/``: searchable, readable from disk without a server or a network.

Pages keep the places that they have in the repository, so that their links work here and there alike.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "THIRD_PARTY_NOTICES.md", "LICENSE", "README.md")
RELATIVE = re.compile(r"\]\((?![a-z]+://|#|/)")


def sources(folder: Path) -> None:
    """Pages of docs/, of the plugins and of the root, in their own places; docs/index.md is the start page."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    for page in [*(ROOT / name for name in OUTSIDE), *ROOT.glob("plugins/*/README.md")]:
        target = folder / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, target)
    (folder / "assets").mkdir()
    shutil.copy(ROOT / "scripts" / "site_worker.js", folder / "assets" / "iframe-worker.js")
    (folder / "README.md").rename(folder / "about.md")  # mkdocs takes a README for a second start page
    start = (folder / "docs" / "index.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(RELATIVE.sub("](docs/", start), encoding="utf-8")
    (folder / "docs" / "index.md").unlink()


def build(target: Path) -> str:
    """Build into a folder; returns what mkdocs said.

    Raises:
        SystemExit: mkdocs failed, or is not installed.
    """
    with tempfile.TemporaryDirectory() as holder:
        pages = Path(holder) / "pages"
        sources(pages)
        settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
        settings["docs_dir"], settings["site_dir"] = str(pages), str(target.resolve())
        for plugin in settings["plugins"]:
            if isinstance(plugin, dict) and "mkdocstrings" in plugin:
                python = plugin["mkdocstrings"]["handlers"]["python"]
                python["paths"] = [str(ROOT / path) for path in python["paths"]]
        for extension in settings["markdown_extensions"]:
            if isinstance(extension, dict) and "pymdownx.snippets" in extension:
                extension["pymdownx.snippets"]["base_path"] = [str(ROOT)]
        file = Path(holder) / "mkdocs.yml"
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(file)]
        quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an announcement of the theme's authors
        # run there: plugins keep caches below the folder that they are run in
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet, cwd=holder)
    if done.returncode:
        sys.exit(f'site: mkdocs failed; pip install "mkdocs-material" "mkdocstrings-python"\n{done.stderr[-3000:]}')
    return done.stderr


def main() -> None:
    started = time.perf_counter()
    print(build(ROOT / "site"), end="")
    print(f"site: open site/index.html ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
