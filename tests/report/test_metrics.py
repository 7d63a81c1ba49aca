"""Prometheus metrics, as Prometheus' own parser reads them over HTTP."""

import socket
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from dataengine.cli import build
from dataengine.report import metrics
from dataengine.report.metrics import Metrics, counts_of_row, serving, split_counts
from tests.token_corpus import make_corpus

Sample = tuple[str, frozenset[tuple[str, str]]]


def read(url: str) -> dict[Sample, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: dict[Sample, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_what_rows_count_as() -> None:
    assert counts_of_row({"status": "ok", "num_views": 8}) == {"ok": 1, "views": 8}
    assert counts_of_row({"status": "ok", "num_views": 8, "grid": [16, 16]}) == {"ok": 1, "views": 8, "tokens": 2048}
    failed = counts_of_row({"status": "failed", "error": "CRASH"})
    assert split_counts(failed) == ({"failed": 1}, {"CRASH": 1})


def test_figures_at_an_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dataengine")
    with serving(0) as shown:
        url = caplog.messages[-1].removeprefix("metrics at ")
        shown.add("views/orbit8", {"ok": 2, "views": 16, "bytes": 0, "error:CRASH": 1})
        shown.shards("views/orbit8", {"done": 1, "left": 3})
        shown.trained({"step": 7, "loss": 2.5})
        found = read(url)
    assert value(found, "dataengine_done_total", stage="views/orbit8", what="views") == 16
    assert value(found, "dataengine_failures_total", stage="views/orbit8", error="CRASH") == 1
    assert value(found, "dataengine_shards", stage="views/orbit8", state="left") == 3
    assert value(found, "dataengine_training", what="loss") == 2.5
    with pytest.raises(OSError):  # nobody listens any more
        urllib.request.urlopen(url, timeout=2)


def test_sums_of_a_run_that_begin_anew_go_on_counting() -> None:
    shown = Metrics()
    for ok in (3, 3, 5, 1, 4):  # the actor's node died after 5
        shown.reached("render", {"ok": ok, "views_rate": 1.5})
    (family,) = (f for f in shown.registry.collect() if f.name == "dataengine_done")
    (total,) = (s for s in family.samples if s.name == "dataengine_done_total")
    assert total.value == 9


def test_tokenize_shows_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    corpus = make_corpus(tmp_path / "corpus", assets=3, shard_size=3, views=4, side=32)
    found: list[dict[Sample, float]] = []
    url: list[str] = []
    say, shards = metrics.say, Metrics.shards

    def told(line: str) -> None:
        url.append(line.removeprefix("metrics at "))
        say(line)

    def set_shards(self: Metrics, *states: object) -> None:
        shards(self, *states)  # type: ignore[arg-type]
        found.append(read(url[0]))

    monkeypatch.setattr(metrics, "say", told)
    monkeypatch.setattr(Metrics, "shards", set_shards)
    words = ["tokenize", corpus.url, "--name", "again", "--metrics-port", "0"]
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == 0, done.output
    first, last = found
    assert value(first, "dataengine_shards", stage="tokens/again", state="left") == 1
    assert value(last, "dataengine_shards", stage="tokens/again", state="done") == 1
    assert value(last, "dataengine_done_total", stage="tokens/again", what="ok") == 3
    assert value(last, "dataengine_done_total", stage="tokens/again", what="views") == 12
    assert value(last, "dataengine_done_total", stage="tokens/again", what="tokens") == 12 * 4 * 4
    (tar,) = (tmp_path / "corpus/tokens/again").glob("*.tar")
    size = value(last, "dataengine_done_total", stage="tokens/again", what="bytes")
    assert 0 < size < tar.stat().st_size


@pytest.mark.parametrize("command", ["render", "tokenize", "run"])
def test_a_port_in_use_is_one_line_before_anything_begins(tmp_path: Path, command: str) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(build(), [command, str(tmp_path), "--metrics-port", str(port)])
    assert (done.exit_code, done.stderr) == (2, f"error: --metrics-port {port}: address already in use\n")
