"""The page of ``repcore explore`` with many points in a browser: seconds to write, to the first paint, and of a frame.

Points are synthetic (20 clusters, two columns, no pictures); a frame is one step of zooming. Chromium without a GPU.

    python benchmarks/explore_page.py [--rows 100000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import facts, write_result

from repcore.explore.page import write_explorer
from repcore.explore.rows import Gathered, Origin

WIDTH, CLUSTERS, FRAMES = 64, 20, 10
ZOOM = """new Promise((done) => {
  const plot = document.getElementById("plot"), began = performance.now();
  let left = FRAMES;
  const step = () => {
    plot.dispatchEvent(new WheelEvent("wheel", { deltaY: -10, clientX: 300, clientY: 400, cancelable: true }));
    const next = () => (--left ? step() : done((performance.now() - began) / FRAMES));
    requestAnimationFrame(() => requestAnimationFrame(next));
  };
  step();
})""".replace("FRAMES", str(FRAMES))


def points(count: int) -> Gathered:
    draw = np.random.default_rng(0)
    cluster = draw.integers(0, CLUSTERS, count)
    vectors = draw.normal(size=(CLUSTERS, WIDTH))[cluster] * 4 + draw.normal(size=(count, WIDTH))
    columns = {"kind": [f"kind {one}" for one in cluster], "size": draw.random(count).tolist()}
    ids = [f"item-{row}" for row in range(count)]
    places = np.full(count, -1)
    return Gathered(ids, vectors.astype(np.float32), [""] * count, columns, Origin(), None, places)


def opened(browser: Any, page: Path) -> dict[str, float]:
    """Seconds to the first paint and milliseconds a frame of a new tab."""
    tab = browser.new_page(viewport={"width": 1300, "height": 900})
    began = time.perf_counter()
    tab.goto(page.as_uri())
    tab.wait_for_selector("body[data-painted]", state="attached")
    painted = time.perf_counter() - began
    frame = float(tab.evaluate(ZOOM))
    tab.close()
    return {"first_paint_s": painted, "frame_ms": frame}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder) / "map.html"
        rows = points(given.rows)
        began = time.perf_counter()
        write_explorer(page, rows, "many points", None)
        written = time.perf_counter() - began
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"])
        tabs = [opened(browser, page) for _ in range(given.repeats)]
        browser.close()
        found: dict[str, Any] = {"rows": given.rows, "written_s": written, "megabytes": page.stat().st_size / 1e6}
    found |= {name: {"median": statistics.median(one[name] for one in tabs), "all": [one[name] for one in tabs]}
              for name in tabs[0]}  # fmt: skip
    print(f"written: {write_result('explore_page', {**facts(['repcore', 'playwright']), **found})}")


if __name__ == "__main__":
    main()
