"""How fast is the report of many assets? Writes one of generated rows and opens it in headless Chromium.

    python benchmarks/report.py                   # 100,000 rows
    python benchmarks/report.py --assets 10_000

Prints the seconds and the peak memory of writing it, bytes per row without pictures, and medians of the page: first
paint, until all rows are read, one filter, one search and one sort. Chromium is Debian's (`apt-get install chromium`).
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from dataengine.corpus.corpus import Corpus
from dataengine.report.site.write import write_report
from tests.report.large import make_large

PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
TIMED = (
    "query => { const t = performance.now(); showGallery(new URLSearchParams(query)); return performance.now() - t }"
)
QUERIES = {"filter": "depth_error=0.2..0.3", "search": "search=number 77", "sort": "sort=depth_error&falling=1"}


def look(page: Page, url: str) -> dict[str, float]:
    """Milliseconds of one visit."""
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    found = {"all rows read": 1000 * (time.perf_counter() - began), "first paint": page.evaluate(PAINT)}
    page.evaluate("location.hash = '#/gallery'")
    page.wait_for_selector(".cell")
    return found | {name: page.evaluate(TIMED, query) for name, query in QUERIES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        making = get_context("spawn").Process(target=make_large, args=(Path(tmp, "corpus"), args.assets))
        making.start()  # on its own, so that its memory is not counted
        making.join()
        corpus = Corpus.open(Path(tmp, "corpus"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        written = write_report(corpus, Path(tmp, "site"), pictures=False)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"written in {time.process_time() - began:.1f} CPU s, {written.bytes / written.assets:.0f} bytes a row, ")
        print(f"peak memory {peak / 1024:.0f} MB, {before / 1024:.0f} MB of it before")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            url = Path(tmp, "site", "index.html").as_uri()
            visits = [look(browser.new_page(), url) for _ in range(args.rounds)]
            browser.close()
    for name in visits[0]:
        print(f"{name}: {median(visit[name] for visit in visits):.0f} ms")


if __name__ == "__main__":
    main()
