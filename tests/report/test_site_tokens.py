"""Decoded tokens and cameras in 3D on an asset's page."""

import html
import io
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dataengine
from dataengine.corpus.corpus import Corpus
from dataengine.extras import EXTRAS
from dataengine.report.site.serve import server
from dataengine.report.site.write import Written, write_report
from tests.report.conftest import SIZE, go, make, open_page
from tests.synthetic import commit_tokens, uid_of

PAGE = f"#/asset/{uid_of(0)}"
PICTURE = Path("tokens", "0", uid_of(0), "small.webp")


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = make(tmp_path_factory.mktemp("tokenized"))
    dataengine.open(corpus.url).tokenize("small", device="cpu")
    return corpus


@pytest.fixture(scope="module")
def site(tokenized: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    folder = tmp_path_factory.mktemp("site") / "report"
    return folder, write_report(tokenized, folder)


def test_tokens_are_decoded_beside_the_views(page: Any, tokenized: Corpus, site: tuple[Path, Written]) -> None:
    folder, written = site
    assert written.left_out == []
    open_page(page, (folder / "index.html").as_uri())
    go(page, PAGE, ".dial")
    captions = page.locator(".turn figcaption")
    fragment = tokenized.fragment("tokens/small", 0)
    assert fragment is not None
    psnr = next(row["psnr"] for row in fragment.table.to_pylist() if row["uid"] == uid_of(0))
    assert captions.all_inner_texts() == ["colour", "depth", f"decoded: small, {psnr[0]:.1f} dB"]
    page.get_by_label("View of orbit8").press("End")
    assert captions.last.inner_text() == f"decoded: small, {psnr[7]:.1f} dB"
    assert f"decoded: small, {psnr[7]:.1f} dB, view 8 of 8" in page.locator(".dial").last.get_attribute("aria-label")
    pixels = np.asarray(Image.open(folder / PICTURE).convert("RGB"), np.float64)
    assert pixels.shape == (3 * SIZE, 3 * SIZE, 3)
    # the ball of make(): red, over white, as lossy as a PSNR of that many dB allows
    for view in range(8):
        top, left = view // 3 * SIZE, view % 3 * SIZE
        cell = pixels[top : top + SIZE, left : left + SIZE]
        assert np.abs(cell[20:28, 20:28].mean((0, 1)) - (200, 30, 30)).max() < 40
        assert cell[:3, :3].mean() > 235


def test_tokens_can_be_left_out(page: Any, tokenized: Corpus, tmp_path: Path) -> None:
    write_report(tokenized, tmp_path / "site", tokens=False)
    assert not (tmp_path / "site" / "tokens").exists()
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    go(page, PAGE, ".dial")
    assert page.locator(".turn figcaption").all_inner_texts() == ["colour", "depth"]


def test_tokens_of_an_unknown_tokenizer_are_left_out_with_a_reason(tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus")
    commit_tokens(corpus, 0)  # whose fragment does not name one
    written = write_report(corpus, tmp_path / "site")
    assert written.left_out == ["Decoded tokens/small are left out: their fragments name no tokenizer"]
    assert written.left_out[0] in (tmp_path / "site" / "index.html").read_text()
    assert not (tmp_path / "site" / "tokens").exists()


def test_tokens_of_older_views_are_not_shown(page: Any, tokenized: Corpus, tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus", "six_views")  # other cameras, so another hash of the views
    for name in ("00000.parquet", *(p.name for p in Path(tokenized.url, "tokens", "small").glob("*.tar"))):
        target = tmp_path / "corpus" / "tokens" / "small" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(tokenized.url, "tokens", "small", name).read_bytes())
    write_report(corpus, tmp_path / "site")
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    go(page, PAGE, ".dial")
    assert page.locator(".turn figcaption").all_inner_texts() == ["colour", "depth"]
    assert "No tokens small of these views" in page.locator("#asset").inner_text()


def test_without_torch_the_report_says_what_it_leaves_out(tokenized: Corpus, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({list(EXTRAS)!r})); from dataengine.cli import main; main()"
    )
    words = [sys.executable, "-c", program, "report", tokenized.url, "-o", str(tmp_path / "site")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    line = r"Decoded tokens/small are left out: this needs (torch|safetensors): pip install 'dataengine\[train\]'"
    assert done.returncode == 0
    assert re.search(line, done.stderr)
    assert re.search(line, html.unescape((tmp_path / "site" / "index.html").read_text()))
    assert not (tmp_path / "site" / "tokens").exists()


def test_serving_decodes_when_asked(tokenized: Corpus) -> None:
    with server(tokenized, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{running.server_address[1]}/"
            urllib.request.urlopen(url).close()
            with urllib.request.urlopen(url + PICTURE.as_posix()) as answer:
                assert Image.open(io.BytesIO(answer.read())).size == (3 * SIZE, 3 * SIZE)
            for other in (f"tokens/0/{uid_of(1)}/small.webp", f"tokens/0/{uid_of(0)}/others.webp"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(url + other)
        finally:
            running.shutdown()
            thread.join()


def apex(page: Any, view: int) -> tuple[float, float]:
    """Where a camera's eye is drawn: the point at which its second closed figure begins."""
    path = page.locator(f".camera[data-view='{view}'] path").get_attribute("d")
    x, y = re.findall(r"M([\d.-]+),([\d.-]+)", path)[1]
    return float(x), float(y)


def test_cameras_stand_where_they_are_and_turn(page: Any, site: tuple[Path, Written]) -> None:
    open_page(page, (site[0] / "index.html").as_uri())
    go(page, PAGE, ".space")
    space = page.locator(".space")
    assert page.locator(".camera.first").get_attribute("data-view") == "0"
    assert page.locator(".space text").all_text_contents().count("1") == 1
    assert {"x", "y", "z"} < set(page.locator(".space text").all_text_contents())
    page.evaluate("document.querySelector('.space').focus()")
    for _ in range(7):  # to seven times ten above 25: 90, from straight above
        page.keyboard.press("ArrowUp")
    for _ in range(2):  # 35 + 2 · 10
        page.keyboard.press("ArrowRight")
    assert "seen from azimuth 55°, elevation 90°" in space.get_attribute("aria-label")
    # From above a camera at azimuth a stands at a - 55° from the picture's downward direction, all at one distance.
    about = [np.array(apex(page, view)) - apex_middle(page) for view in range(8)]
    distances = [float(np.hypot(*offset)) for offset in about]
    assert max(distances) - min(distances) < 0.5
    for view, (x, y) in enumerate(about):
        wanted = (45 * view - 55) % 360
        assert np.degrees(np.arctan2(x, y)) % 360 == pytest.approx(wanted, abs=1)


def apex_middle(page: Any) -> Any:
    circle = page.locator(".space .object")
    return np.array([float(circle.get_attribute("cx")), float(circle.get_attribute("cy"))])


def test_dragging_turns_the_cameras_and_a_click_chooses_one(page: Any, site: tuple[Path, Written]) -> None:
    open_page(page, (site[0] / "index.html").as_uri())
    go(page, PAGE, ".space")
    page.locator(".space").scroll_into_view_if_needed()
    page.locator(".camera[data-view='3']").click(force=True)
    assert page.locator(".dial").first.get_attribute("data-view") == "3"
    assert page.locator(".camera.now").get_attribute("data-view") == "3"
    box = page.locator(".space").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200 - box["width"] / 2, box["y"] + 20)
    page.mouse.up()
    assert "azimuth 125°, elevation 25°" in page.locator(".space").get_attribute("aria-label")  # 35 + 180 / 2
