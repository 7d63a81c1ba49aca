"""A corpus in a dataset repository of the Hub: read as any other, and never written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dataengine
from dataengine.cli import build
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.report.asset import find_asset
from tests.publish.hub import Hub, running
from tests.view_corpus import make_view_corpus

URL = "hf://datasets/me/balls/corpus"


def upload(hub: Hub, folder: Path, repository: str = "me/balls") -> None:
    files = {f"corpus/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    hub.files[repository] = {"README.md": b"# Balls\n", **files}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twelve assets in three shards, four views each."""
    return make_view_corpus(tmp_path_factory.mktemp("local") / "corpus")


@pytest.fixture
def hub(local: Corpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as server:
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        upload(server, Path(local.url))
        yield server


def test_files_are_read_as_in_any_store(hub: Hub) -> None:
    store, content = Store(URL), hub.files["me/balls"]["corpus/plan/assets.parquet"]
    assert store.url == URL
    assert store.read("plan/assets.parquet") == content
    assert store.read_range("plan/assets.parquet", 4, 100) == content[4:104]
    with store.open("plan/assets.parquet", block_size=64) as file:
        assert file.size == len(content) and file.read() == content
    assert store.folders("") == ["plan", "views"] and store.list("plan") == ["plan/assets.parquet"]
    assert store.exists("corpus.yaml") and store.exists("plan") and store.exists()
    assert not store.exists("nothing") and store.list("nothing") == []
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    for offset in (len(content) - 1, len(content) + 1):
        with pytest.raises(DataengineError, match=f"plan/assets.parquet ends before byte {offset + 2}"):
            store.read_range("plan/assets.parquet", offset, 2)


def test_sql_takes_a_request_per_fragment_and_none_per_member(
    hub: Hub, local: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path))  # renders of this machine's user would be asked for, too
    query = "select uid, title, status, num_views from assets order by uid"
    assert Catalog(URL).sql(query).fetchall() == Catalog(local).sql(query).fetchall()
    hub.requests.clear()
    there, here = status(Catalog(URL)), status(Catalog(local))
    assert (there.planned, there.stages, there.failures) == (here.planned, here.stages, here.failures)
    assert not any(".tar" in line for line in hub.requests)
    fragments = [line for line in hub.requests if "/resolve/main/corpus/views/" in line]
    assert len(fragments) == len(set(fragments)) == 3  # each once, though several queries name it
    assert len(hub.requests) <= 45, hub.requests  # mostly listings, anew for each of five queries


def test_pages_of_a_listing_are_put_together(hub: Hub, local: Corpus) -> None:
    hub.page = 2
    store = Store(URL)
    stage = local.views_stage
    assert store.list(stage) == local.store.list(stage) and len(store.list(stage)) == 6


def test_an_asset_is_read_by_its_range(hub: Hub, local: Corpus) -> None:
    corpus = Corpus.open(URL)
    uid = corpus.plan(1)["uid"][0].as_py()
    hub.requests.clear()
    views, expected = find_asset(corpus, uid[:8]).views(), find_asset(local, uid).views()
    assert np.array_equal(views.rgba, expected.rgba) and np.array_equal(views.depth, expected.depth)
    tars = [line for line in hub.requests if ".tar" in line]
    assert len(tars) == 1 and " bytes=" in tars[0]  # its members follow each other


def test_a_trainer_reads_it(hub: Hub, local: Corpus, tmp_path: Path) -> None:
    def first(corpus: Corpus) -> list[tuple[str, float]]:
        samples = dataengine.Views(corpus, views=2, split=None, epochs=1, cache=tmp_path / "cache")
        return [(sample["uid"], float(sample["colour"].sum())) for sample in samples]

    found = first(Corpus.open(URL))
    assert found == first(local) and len(found) == 10
    assert [line for line in hub.requests if line.startswith("GET /storage/") and "bytes=0-" in line]


def test_a_compacted_corpus_is_read_too(hub: Hub, tmp_path: Path) -> None:
    small = make_view_corpus(tmp_path / "corpus", assets=7)
    compact(small)
    upload(hub, tmp_path / "corpus")
    query = "select uid, status from assets order by uid"
    assert Catalog(URL).sql(query).fetchall() == Catalog(small).sql(query).fetchall()


def test_what_is_uploaded_meanwhile_is_seen(hub: Hub, local: Corpus, tmp_path: Path) -> None:
    late = "hf://datasets/me/late/corpus"
    with pytest.raises(UsageError, match="no such dataset"):
        Corpus.open(late)
    hub.files["me/late"] = {"README.md": b""}
    with pytest.raises(UsageError, match="hf://datasets/me/late/corpus is not a corpus"):
        Corpus.open(late)
    upload(hub, Path(local.url), "me/late")
    catalog = Catalog(late)
    assert catalog.sql("select count(*) from assets").fetchall() == [(12,)]
    grown = make_view_corpus(tmp_path / "corpus", assets=14)
    upload(hub, Path(grown.url), "me/late")
    assert catalog.sql("select count(*) from assets").fetchall() == [(14,)]


def test_a_revision_is_read_as_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.tags["me/balls", "v1"] = hub.files["me/balls"]
    hub.tags["me/balls", "refs/pr/3"] = hub.files["me/balls"]
    upload(hub, Path(make_view_corpus(tmp_path / "corpus", assets=3).url))
    for revision, count in (("", 3), ("@main", 3), ("@v1", 12), ("@refs%2Fpr%2F3", 12)):
        corpus = Corpus.open(f"hf://datasets/me/balls{revision}/corpus")
        assert Catalog(corpus).sql("select count(*) from assets").fetchall() == [(count,)]


def test_other_files_there_can_be_joined(hub: Hub, local: Corpus) -> None:
    hub.files["me/balls"]["mine.parquet"] = (Path(local.url) / "plan/assets.parquet").read_bytes()
    for name in ("mine", "min*"):
        query = f"select count(*) from assets join 'hf://datasets/me/balls/{name}.parquet' using (uid)"
        assert Catalog(URL).sql(query).fetchall() == [(12,)]


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("hf://datasets/me/nothing", None, "hf://datasets/me/nothing: the Hub has no such dataset, or it is private"),
        ("hf://datasets/me/nothing", "secret", "hf://datasets/me/nothing: the Hub has no such dataset"),
        ("hf://datasets/me/hidden/corpus", None, "hf://datasets/me/hidden: .* private: set HF_TOKEN"),
        ("hf://datasets/me/gated/corpus", None, "hf://datasets/me/gated: it is gated: ask for access"),
        (URL, "expired", "hf://datasets/me/balls: the Hub does not know this token"),
        ("hf://datasets/me/balls@v9/corpus", None, "hf://datasets/me/balls: it has no branch, tag or commit v9"),
        ("hf://datasets/me/balls", None, "hf://datasets/me/balls is not a corpus"),
        ("hf://me/balls", None, "hf://me/balls: a corpus on the Hub is hf://datasets/OWNER/NAME"),
        ("hf://datasets/me", None, "a corpus on the Hub is"),
    ],
)
def test_what_cannot_be_read(
    hub: Hub, local: Corpus, monkeypatch: pytest.MonkeyPatch, url: str, token: str | None, words: str
) -> None:
    for name, kind in (("me/hidden", hub.private), ("me/gated", hub.gated)):
        upload(hub, Path(local.url), name)
        kind.add(name)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match=words) as raised:
        Corpus.open(url)
    assert "\n" not in str(raised.value)


def test_a_private_corpus_is_read_with_its_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private.add("me/balls")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    corpus = Corpus.open(URL)
    assert find_asset(corpus, corpus.plan(0)["uid"][0].as_py()).views().depth.shape == (4, 24, 24)


def run(hub: Hub, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-m", "dataengine", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_command_line_finds_the_endpoint(hub: Hub) -> None:
    assert run(hub, "query", URL, "select count(*) n from assets", "--format", "csv") == (0, "n\n12\n")
    code, said = run(hub, "status", "hf://datasets/me/nothing")
    assert (code, len(said.splitlines())) == (2, 1) and "no such dataset" in said


@pytest.mark.parametrize(
    "words",
    [
        ("plan", URL, "--source", "local:/nonexistent"),
        ("plan", "hf://datasets/me/new", "--source", "local:/nonexistent"),
        ("render", URL),
        ("tokenize", URL),
        ("run", URL),
        ("manifests", "compact", URL),
        ("rebalance", URL, "--shard-size", "7"),
        ("verify", URL, "--prune"),
        ("remove", URL, "UID", "--reason", "asked", "--yes"),
        ("captions", URL, "--rewrite-shards"),
        ("merge", "here", "there", "-o", URL),
    ],
)
def test_it_is_not_written(hub: Hub, local: Corpus, words: tuple[str, ...]) -> None:
    before = dict(hub.files["me/balls"])
    uid = str(local.plan(0)["uid"][0])
    done = CliRunner().invoke(build(), [uid if word == "UID" else word for word in words])
    assert done.exit_code == 2 and "can only be read" in done.stderr.splitlines()[-1], done.output
    assert hub.files["me/balls"] == before and not any(".tar" in line for line in hub.requests)


@pytest.mark.usefixtures("hub")
def test_nothing_can_be_put() -> None:
    store = Store(URL)
    for call in (lambda: store.put("a", b""), lambda: store.delete("a"), lambda: store.move("a", "b")):
        with pytest.raises(UsageError, match="can only be read"):
            call()
