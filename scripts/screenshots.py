"""One picture a domain: the page of ``repcore explore`` over data that come with the plugin, in a real browser.

    python scripts/screenshots.py [DOMAIN...]

Trains a tiny model for some steps, writes the map of some rows, opens it in Chromium, chooses an item, and keeps
``docs/pictures/DOMAIN.png``. Needs playwright, Chromium and Pillow.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from repcore import registry
from repcore.cli.main import run
from repcore.data.guard import row_id
from repcore.data.readers import open_data

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
DOMAINS = {  # recipe, data, further settings
    "audio": ("ssamba", "sounds", ()),
    "graphs": ("masked-node", "motifs", ()),
    "medical3d": ("alice", "phantoms", ()),
    "molecules": ("selformer", "nci", ("data.limit=600", "data.batch_size=16", "encoder.layers=2")),
    "pointcloud": ("point-m2ae", "shapes", ()),
    "timeseries": ("ts2vec", "sensors", ()),
}
STEPS, ROWS = 30, 240
VIEW: ViewportSize = {"width": 1180, "height": 760}
COLOURS, MOST_BYTES = 96, 150_000


def written(domain: str, folder: Path, steps: int) -> Path:
    """A tiny model's map of at most ``ROWS`` rows, spread over the data set."""
    recipe, data, settings = DOMAINS[domain]
    command = [domain, "train", recipe, "--preset", "tiny", "--name", domain, "--out", str(folder)]
    ask([*command, f"trainer.steps={steps}", *settings])
    _, reader = open_data(registry.default(), data, domain=domain)
    rows = folder / "rows.csv"
    with rows.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["id"])
        lines.writerows([row_id(reader, row)] for row in range(0, len(reader), max(1, len(reader) // ROWS)))
    ask(["explore", str(folder / domain), data, "--rows", str(rows), "-o", str(folder / "map.html")])
    return folder / "map.html"


def ask(command: list[str]) -> None:
    """A command of repcore, which must succeed."""
    if run(command) != 0:
        raise SystemExit(f"repcore {' '.join(command)} failed")


def photographed(page: Page, place: Path) -> Image.Image:
    """The page with colours and a chosen item."""
    page.goto(place.as_uri())
    page.wait_for_selector("body[data-pictures][data-painted]", state="attached")
    if page.locator("#colour option").count() > 1:
        page.select_option("#colour", index=1)
    page.evaluate("document.getElementById('plot').scrollIntoView()")
    page.focus("#plot")
    page.keyboard.press("ArrowRight")  # chooses an item
    page.wait_for_function("document.getElementById('picture').childElementCount > 0")
    page.wait_for_timeout(500)
    page.evaluate("window.scrollTo(0, 0)")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def main() -> None:
    """Take the pictures."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("domains", nargs="*", default=list(DOMAINS))
    asked.add_argument("--steps", type=int, default=STEPS)
    given = asked.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for domain in given.domains:
            own = Path(folder) / domain
            own.mkdir()
            page = browser.new_page(viewport=VIEW, color_scheme="light")
            path = PICTURES / f"{domain}.png"
            photographed(page, written(domain, own, given.steps)).quantize(COLOURS).save(path, optimize=True)
            page.close()
            if path.stat().st_size > MOST_BYTES:
                raise SystemExit(f"{path} has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,}")
            print(f"{path}: {path.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
