"""The report in a real browser, from disk and served."""

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.report.site.columns import plain_json
from dataengine.report.site.serve import server
from dataengine.report.site.write import write_report
from tests.report.conftest import go, make, open_page
from tests.report.large import make_large
from tests.synthetic import plan_row, put_plan, uid_of

HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script> \x1b[31m \u202ecod.exe'


def titles(page: Any) -> list[str]:
    return list(page.locator(".cell b").all_inner_texts())


@pytest.fixture(scope="module")
def site(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("site") / "report"
    write_report(corpus, folder)
    return (folder / "index.html").as_uri()


def test_the_overview_counts_and_explains_failures(page: Any, site: str) -> None:
    open_page(page, site)
    assert page.locator(".totals dd").all_inner_texts()[:3] == ["4", "1", "1"]
    assert "2 of 4 assets are not rendered yet" in page.locator("#overview").inner_text()
    page.locator("summary", has_text="EMPTY_SCENE").click()
    assert "nothing visible" in page.locator("details").first.inner_text()
    assert "last words" in page.locator("details pre").first.inner_text()
    page.get_by_text("All of this kind").click()
    page.wait_for_selector(".cell")
    assert titles(page) == ["Ball 1"]


def test_the_gallery_filters_searches_and_sorts(page: Any, site: str) -> None:
    open_page(page, site)
    go(page, "#/gallery", ".cell")
    assert titles(page) == ["0.glb", "Ball 1", "Ball 2", "Ball 3"]
    page.get_by_label("Search").fill("NUMBER 2")
    assert titles(page) == ["Ball 2"]
    page.get_by_label("Search").fill("")
    page.locator("#sort").select_option("faces")
    page.locator("#order").select_option("falling")
    # plan_row has 7919 n mod 5000 faces; what Blender counted in asset 0 is 1,234
    assert titles(page) == ["Ball 3", "Ball 1", "0.glb", "Ball 2"]
    page.locator("#add").select_option("status")
    page.locator(".filter select").select_option("planned")
    assert titles(page) == ["Ball 3", "Ball 2"]
    assert page.locator("#count").inner_text() == "2 of 4 assets"
    assert "status=planned" in page.url and "sort=faces" in page.url
    page.get_by_label("Drop the filter status").click()
    assert len(titles(page)) == 4


def test_dragging_turns_the_views(page: Any, site: str) -> None:
    open_page(page, site)
    go(page, f"#/asset/{uid_of(0)}", ".dial")
    dial = page.locator(".dial").first
    before = dial.evaluate("d => d.style.backgroundPosition")
    box = dial.bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.up()
    assert dial.get_attribute("data-view") != "0"
    assert dial.evaluate("d => d.style.backgroundPosition") != before
    assert "azimuth" in dial.get_attribute("aria-label")
    assert page.locator(".camera").count() == 8
    assert page.locator(".camera.now").get_attribute("data-view") == dial.get_attribute("data-view")
    assert [c.inner_text() for c in page.locator(".turn figcaption").all()] == ["colour", "depth"]
    page.get_by_label("View of orbit8").press("Home")
    assert dial.get_attribute("data-view") == "0"


def test_every_picture_is_there_and_shows_the_ball(page: Any, site: str) -> None:
    open_page(page, site)
    go(page, f"#/asset/{uid_of(0)}", ".dial")
    pixel = """async dial => {
        const image = new Image(); image.src = dial.style.backgroundImage.slice(5, -2); await image.decode();
        return [image.width, image.height] }"""
    for dial in page.locator(".dial").all():
        assert dial.evaluate(pixel) == [3 * 48, 3 * 48]  # eight views in a grid of three columns


def test_text_of_strangers_stays_text(page: Any, tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus")
    texts = dict.fromkeys(("title", "caption", "licence", "author", "attribution", "page_url"), HOSTILE)
    put_plan(corpus.store, [plan_row(n, 2, **texts, tags=[HOSTILE]) for n in range(4)])
    write_report(Corpus.open(corpus.url), tmp_path / "site")
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    seen = page.locator("#overview").inner_text()
    assert "<img src=x onerror=" in seen and "\\x1b[31m" in seen and "\\u202ecod.exe" in seen
    go(page, "#/gallery?licence=" + urllib.request.quote(HOSTILE), ".cell")
    assert len(titles(page)) == 4 and "\\u202ecod.exe" in titles(page)[0]
    go(page, f"#/asset/{uid_of(0)}", ".dial")
    seen = page.locator("#asset").inner_text()
    assert "</script><script>window.hacked=1</script>" in seen and "\x1b" not in seen and "\u202e" not in seen
    assert page.evaluate("window.hacked") is None
    assert page.locator("#asset a[href^='javascript'], img").count() == 0


def test_a_hundred_thousand_rows(page: Any, tmp_path: Path) -> None:
    assets = 100_000
    corpus = make_large(tmp_path / "corpus", assets)
    written = write_report(corpus, tmp_path / "site", pictures=False)
    assert (written.assets, written.pictures) == (assets, 0)
    assert written.bytes < 2000 * assets
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    go(page, "#/gallery?status=ok&sort=depth_error&falling=1", ".cell")
    assert page.locator("#count").inner_text() == "90,000 of 100,000 assets"
    assert titles(page)[0] == "model 99998"
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("[...document.querySelectorAll('.cell b')].some(b => b.innerText === 'model 0')")
    assert page.locator(".cell").count() < 300
    go(page, f"#/asset/{uid_of(77_777)}", "#asset dl")
    assert "model 77777" in page.locator("#asset").inner_text()


def test_bars_lead_to_what_they_count(page: Any, site: str) -> None:
    open_page(page, site)
    for label in page.locator("a:has(rect)").evaluate_all("all => all.map(a => [a.ariaLabel, a.getAttribute('href')])"):
        go(page, label[1], ".cell")
        counted = re.search(r": ([\d,]+) assets", label[0])
        assert counted and page.locator("#count").inner_text() == f"{counted[1]} of 4 assets"


def test_a_phone_and_keys(page: Any, site: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    open_page(page, site)
    for address, there in (("#/", "svg"), ("#/gallery", ".cell"), (f"#/asset/{uid_of(0)}", ".dial")):
        go(page, address, there)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(".wide:not([tabindex])").count() == 0  # keys scroll what is wider
    go(page, "#/gallery", ".cell")
    page.locator(".cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#asset h2")
    assert "Ball 1" in page.locator("#asset").inner_text()
    assert "EMPTY_SCENE: nothing visible" in page.locator("#asset").inner_text()


def test_a_folder_of_something_else_is_left_alone(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty, and no report"):
        write_report(corpus, tmp_path)
    write_report(corpus, tmp_path / "site", pictures=False)
    (tmp_path / "site" / "rows" / "99.js").write_text("old")
    write_report(corpus, tmp_path / "site", pictures=False)
    assert not (tmp_path / "site" / "rows" / "99.js").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt", "site"]


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_that_wcag_asks_for() -> None:
    style = files("dataengine.report.site").joinpath("static", "style.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(schemes) == 2
    for scheme in schemes:
        for ground in ("paper", "panel"):
            for text in ("ink", "faint", "link", "bad", "good"):
                dark, light = sorted((luminance(scheme[ground]), luminance(scheme[text])))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, text)


def test_data_cannot_end_its_script() -> None:
    assert plain_json({"a": "</script>\u2028"}) == '{"a":"\\u003c/script>\\u2028"}'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Corpus, str]]:
    corpus = make(tmp_path)
    with server(corpus, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield corpus, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_serving_shows_the_corpus_as_it_is(page: Any, served: tuple[Corpus, str]) -> None:
    corpus, url = served
    open_page(page, url)
    go(page, f"#/asset/{uid_of(0)}", ".dial")
    go(page, "#/gallery", ".cell")
    put_plan(corpus.store, [plan_row(n, 2, title=f"Renamed {n}") for n in range(4)])
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert titles(page) == [f"Renamed {n}" for n in range(4)]


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/", "evil.example:80", 403),
        ("/../corpus.yaml", "", 404),
        ("/static/..%2fpages.py", "", 404),
        ("/rows/99.js", "", 404),
        (f"/views/0/{uid_of(1)}/orbit8.colour.webp", "", 404),
        (f"/views/0/{uid_of(0)}/orbit8.normal.webp", "", 404),
        (f"/views/0/{uid_of(0)}/nothing.colour.webp", "", 404),
        (f"/views/0/{uid_of(0)}/orbit8.colour.webp", "", 200),
    ],
)
def test_serving_answers_this_machine_alone(served: tuple[Corpus, str], path: str, host: str, status: int) -> None:
    request = urllib.request.Request(served[1] + path, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request) as answer:
            found = answer.status
    except urllib.error.HTTPError as e:
        found = e.code
    assert found == status
