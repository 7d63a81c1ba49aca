"""The page of runs: what trainings have left, in a real browser."""

import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.report.site.curves import POINTS, curve
from dataengine.report.site.run_folder import run_folders
from dataengine.report.site.serve import server
from dataengine.report.site.write import write_report
from dataengine.tokenize.fit_curve import Point, table
from tests.report.conftest import go, open_page
from tests.report.test_site import luminance
from tests.training.synthetic import ToyCodec, make_corpus

HOSTILE = "<img src=x onerror='window.hacked=1'> \x1b[31m \u202ecod"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of a few steps, with sheets, of which both are evaluated on the same objects."""
    torch = pytest.importorskip("torch")
    from dataengine.training.config import Sampling, TrainConfig
    from dataengine.training.evaluation.evaluate import evaluate, write
    from dataengine.training.sample import load_run
    from dataengine.training.trainer import train

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    made = [folder / "first", folder / "second"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 1)})
        corpus = make_corpus(folder / "corpus", 24, 12, val_every=4, pictures=True)
        for run, rate in zip(made, (3e-3, 1e-3), strict=True):
            common = {"run": run, "corpus": corpus.url, "tokenizer": "toy", "size": "tiny", "device": "cpu"}
            often = {"sheet_every": 2, "checkpoint_every": 3}
            train(TrainConfig(**common, **often, stage="i2mv", steps=6, batch=4, lr=rate, warmup=2), ToyCodec())
            rows = evaluate(
                load_run(run, ("i2mv",), "cpu"),
                corpus,
                ToyCodec(),
                tokenizer="toy",
                split="val",
                sampling=Sampling(2),
                train=corpus,
            )
            write(rows, run / "i2mv" / "eval.parquet")
    Image.new("RGB", (40, 20), "red").save(made[0] / "i2mv" / "eval.png")
    return made


@pytest.fixture(scope="module")
def site(corpus: Corpus, runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("site") / "report"
    write_report(corpus, folder, runs=run_folders(runs))
    return (folder / "index.html").as_uri()


def figures(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "i2mv" / "metrics.jsonl").read_text().splitlines()]


def test_long_curves_are_means_of_equally_many_steps() -> None:
    lines = [{"step": n, "loss": float(n), **({"late": 1.0} if n > 1990 else {})} for n in range(1, 2001)]
    lines[4]["loss"] = float("nan")  # step 5: left out of its mean
    found = curve(lines)
    assert found.per == 4 and len(found.steps) == 500 <= 2 * POINTS
    assert found.steps[:2] == [4, 8]
    assert found.values["loss"][:3] == [2.5, 7.0, 10.5]
    assert found.values["late"][:2] == [None, None] and found.values["late"][-1] == 1.0
    assert curve(lines[:3]).values["loss"] == [1.0, 2.0, 3.0]


def test_curves_of_runs_stand_in_one_plot(page: Any, site: str, runs: list[Path]) -> None:
    open_page(page, site)
    page.get_by_role("link", name="Runs").click()
    page.wait_for_selector("#plot .curve")
    assert page.locator("#plot .curve").count() == 2
    assert len(set(page.locator("#plot .curve").evaluate_all("all => all.map(c => getComputedStyle(c).stroke)"))) == 2
    assert page.locator("#figure option").all_inner_texts()[:2] == ["loss", "nats per hidden token"]
    page.locator("#figure").select_option("nll")
    page.locator("#step").press("Home")
    for row, run in zip(page.locator("#legend tbody tr").all(), runs, strict=True):
        logged = [line["nll"] for line in figures(run)]
        shown = [float(text) for text in row.locator("td.n").all_inner_texts()[:3]]
        assert shown == pytest.approx([logged[0], logged[-1], min(logged)], rel=1e-4)
        assert row.locator("td.n").all_inner_texts()[3] == "6 / 6"
    page.get_by_role("checkbox", name="Show first · i2mv").uncheck()
    assert page.locator("#plot .curve").count() == 1
    settings = page.get_by_role("region", name="Settings that differ").inner_text()
    assert "lr" in settings and "0.003" in settings and "0.001" in settings and "batch" not in settings


def test_what_is_measured_now_and_then_is_a_curve_too(page: Any, site: str, runs: list[Path]) -> None:
    open_page(page, f"{site}#/runs")
    page.locator("#figure").select_option("nll_held_out")
    page.locator("#step").press("End")
    for path in page.locator("#plot .curve").evaluate_all("all => all.map(c => c.getAttribute('d'))"):
        assert re.fullmatch(r"M[\d.]+,[\d.]+L[\d.]+,[\d.]+", path)  # of steps 3 and 6, one line
    for row, run in zip(page.locator("#legend tbody tr").all(), runs, strict=True):
        third, sixth = [line["nll_held_out"] for line in figures(run) if "nll_held_out" in line]
        shown = [float(text) for text in row.locator("td.n").all_inner_texts()[:3]]
        assert shown == pytest.approx([sixth, sixth, min(third, sixth)], rel=1e-4)


def test_sheets_follow_their_slider(page: Any, site: str, runs: list[Path]) -> None:
    open_page(page, site)
    go(page, "#/runs", ".sheet")
    slider = page.get_by_label("Sheet of second · i2mv")
    assert slider.get_attribute("aria-valuetext") == "step 6"
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "step 4"
    picture = page.get_by_alt_text("What second · i2mv drew at step 4")
    picture.scroll_into_view_if_needed()
    size = picture.evaluate("async image => { await image.decode(); return [image.naturalWidth, image.naturalHeight] }")
    with Image.open(runs[1] / "i2mv" / "sheets" / "00000004.png") as sheet:
        assert tuple(size) == sheet.size


def test_evaluations_stand_side_by_side_with_baselines(page: Any, site: str, runs: list[Path]) -> None:
    open_page(page, site)
    go(page, "#/runs", ".intervals")
    assert page.locator(".intervals").count() == 1  # the same objects: one table
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".intervals tbody tr").all()]
    assert [row[:2] for row in rows] == [
        ["training mean", "all 2"],
        ["first view, copied", "all 2"],
        ["model", "first · i2mv"],
        ["model", "second · i2mv"],
        ["tokenizer's round trip", "all 2"],
    ]
    for row, run in zip(rows[2:4], runs, strict=True):
        own = [r["psnr"] for r in pq.read_table(run / "i2mv" / "eval.parquet").to_pylist() if r["method"] == "model"]
        mean, half = row[2].split(" ± ")
        assert float(mean) == pytest.approx(np.mean(own), rel=1e-4)
        assert float(half) == pytest.approx(1.96 * np.std(own, ddof=1) / len(own) ** 0.5, rel=0.05)
    page.locator("label", has_text="Metric").locator("select").select_option("feature")
    feature = page.locator(".intervals tbody tr").nth(2).locator("td").nth(2).inner_text()
    page.get_by_text("All metrics").click()
    assert feature in page.get_by_role("region", name="All metrics").inner_text()
    page.get_by_text("Views drawn by first").click()
    drawn = page.get_by_alt_text("True and drawn views, first · i2mv")
    assert drawn.evaluate("async image => { await image.decode(); return image.naturalWidth }") == 40


def test_the_curve_of_a_fit_is_what_its_held_out_views_show(page: Any, corpus: Corpus, tmp_path: Path) -> None:
    points = [Point(10 * n, n, 1.0, 0.5, 20.0, 18.0 + n, 21.0, 0.8, 0.1, 15.0) for n in (1, 2, 3)]
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "mine.csv").write_text(table(points))
    (tmp_path / "fit" / "other.csv").write_text("a,b\n1,2\n")
    write_report(corpus, tmp_path / "site", runs=run_folders([tmp_path / "fit"]), pictures=False)
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    go(page, "#/runs", "#plot .curve")
    page.locator("#figure").select_option("held-out psnr_object")
    cells = page.locator("#legend tbody tr").locator("td").all_inner_texts()
    assert [cell.strip() for cell in cells] == ["fit", "mine", "21", "21", "19", "30", "–"]


def test_runs_have_names_that_differ_and_what_is_none_is_named(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "first", ignore=shutil.ignore_patterns("checkpoints"))
    twin = tmp_path / "first"
    assert [run.name for run in run_folders([runs[0], twin, runs[1]])] == [str(runs[0]), str(twin), "second"]
    assert run_folders([twin])[0].trained()[0].settings == {}  # no checkpoint yet
    with pytest.raises(UsageError, match="there is no folder"):
        run_folders([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty holds no run: neither STAGE/metrics\.jsonl"):
        run_folders([tmp_path / "empty"])


def test_a_line_that_is_being_written_waits_and_a_damaged_one_is_named(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "run")
    log = tmp_path / "run" / "i2mv" / "metrics.jsonl"
    (run,) = run_folders([tmp_path / "run"])
    with log.open("a") as file:
        file.write('{"step": 7, "lo')
    assert run.trained()[0].curve.steps == [1, 2, 3, 4, 5, 6]
    with log.open("a") as file:
        file.write("\n")
    with pytest.raises(DataengineError, match=r"line 7 of .*metrics\.jsonl is no step's figures"):
        run.trained()
    kept = "".join(f"{line}\n" for line in log.read_text().splitlines()[:4])
    log.write_text(kept)  # as of a run that goes on from step 4
    assert run.trained()[0].curve.steps == [1, 2, 3, 4]
    other = log.with_name("other")
    other.write_text(kept + '{"step": 5, "loss": 8}\n{"step": 6, "loss": 4}\n{"step": 7, "loss": 2}\n')
    other.replace(log)
    found = run.trained()[0].curve
    assert found.steps == [1, 2, 3, 4, 5, 6, 7] and found.values["loss"][4:] == [8, 4, 2]


def test_names_of_strangers_stay_text(page: Any, corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE / "i2mv"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    state = folder / "checkpoints" / "00000001" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"settings": {"steps": 1, "where": "</script><script>window.hacked=1</script>"}}))
    write_report(corpus, tmp_path / "site", runs=run_folders([tmp_path / HOSTILE]))
    open_page(page, (tmp_path / "site" / "index.html").as_uri())
    go(page, "#/runs", "#plot .at")
    page.locator("#runs summary").click()
    seen = page.locator("#runs").inner_text()
    assert "<img src=x onerror=" in seen and "\\x1b[31m" in seen and "\\u202ecod" in seen
    assert "</script><script>window.hacked=1</script>" in seen
    assert page.evaluate("window.hacked") is None and page.locator("#runs img").count() == 0


def test_runs_fit_a_phone_and_keys_reach_them(page: Any, site: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    open_page(page, site)
    go(page, "#/runs", "#plot .curve")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#figure").focus()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.key ?? document.activeElement.ariaLabel"))
    assert reached == ["step", "Figures of the runs", "show first · i2mv", "show second · i2mv", "sheet first · i2mv"]


@pytest.fixture
def served(corpus: Corpus, runs: list[Path], tmp_path: Path) -> Iterator[tuple[Path, str]]:
    shutil.copytree(runs[0], tmp_path / "run")
    with server(corpus, 0, runs=run_folders([tmp_path / "run"])) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield tmp_path / "run", f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_serving_shows_a_run_while_it_goes_on(page: Any, served: tuple[Path, str]) -> None:
    run, url = served
    open_page(page, url)
    go(page, "#/runs", "#plot .curve")
    page.locator("#runs summary", has_text="run · i2mv").last.click()
    page.get_by_role("checkbox", name="Show run · i2mv").focus()
    with (run / "i2mv" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 7, "loss": 12.5, "epoch": 3, "samples": 1}) + "\n")
    (run / "i2mv" / "sheets" / "00000007.png").write_bytes((run / "i2mv" / "sheets" / "00000006.png").read_bytes())
    page.evaluate("bringRuns()")
    assert page.locator("#legend tbody tr td").nth(3).inner_text() == "12.5"
    assert page.evaluate("document.activeElement.dataset.key") == "show run · i2mv"
    assert page.get_by_label("Sheet of run").get_attribute("aria-valuetext") == "step 7"
    assert page.locator("#runs details[open]").count() == 1  # what was opened stays so
    (run / "i2mv" / "metrics.jsonl").write_text("not JSON\n")
    page.evaluate("bringRuns()")
    assert "line 1 of" in page.get_by_role("alert").inner_text()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("runs/0/i2mv/6.webp", 200),
        ("runs/0/evaluated/0.webp", 200),
        ("runs/0/evaluated/1.webp", 404),
        ("runs/0/i2mv/5.webp", 404),
        ("runs/1/i2mv/6.webp", 404),
        ("runs/0/checkpoints/6.webp", 404),
        ("runs/0/i2mv/../6.webp", 404),
    ],
)
def test_serving_gives_sheets_and_nothing_else(served: tuple[Path, str], path: str, status: int) -> None:
    try:
        with urllib.request.urlopen(f"{served[1]}/{path}") as answer:
            found = answer.status
    except urllib.error.HTTPError as e:
        found = e.code
    assert found == status


def test_curves_have_the_contrast_that_wcag_asks_of_graphics() -> None:
    style = files("dataengine.report.site").joinpath("static", "style.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{([^}]*)\}", style):
        colours = dict(re.findall(r"--(\w+): (#\w+);", block))
        lines = [name for name in colours if name.startswith("line")]
        assert len(lines) == 6
        for name in (*lines, "bar", "bad", "faint"):
            dark, light = sorted((luminance(colours["panel"]), luminance(colours[name])))
            assert (light + 0.05) / (dark + 0.05) >= 3, name
