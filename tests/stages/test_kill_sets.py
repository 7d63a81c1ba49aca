"""View sets that are added, killed and resumed: each renders itself alone, and what was done keeps its bytes."""

import os
import signal
import time
from pathlib import Path

import pytest
import trimesh

from dataengine.corpus.corpus import Corpus
from tests.stages.test_kill_render import Runs

ASSETS = 5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for i in range(ASSETS - 1):
        trimesh.creation.icosphere(subdivisions=2 + i % 2, radius=1 + i).export(folder / f"{i}.glb")
    (folder / "broken.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing that makes sense")
    return folder


class SetRuns(Runs):
    """Commands on a corpus with the view sets that are asked for."""

    def plan_sets(self, models: Path, *sets: str) -> None:
        words = [word for name in sets for word in ("--views", name)]
        self.run(
            "plan", str(self.corpus), "--source", f"local:{models}", *words,
            "--resolution", "32", "--samples", "1", "--shard-size", "3", "--yes",
        )  # fmt: skip

    def tars(self, name: str) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (self.corpus / "views" / name).glob("*.tar")}

    def when(self, name: str) -> dict[str, object]:
        """uid → when its views of a set were finished, of the committed."""
        corpus = Corpus.open(self.corpus)
        fragments = [f for n in corpus.shards() if (f := corpus.fragment(f"views/{name}", n))]
        return {r["uid"]: r["finished_at"] for f in fragments for r in f.table.to_pylist()}

    def kill_amid(self, *folders: str) -> None:
        """Renders, and kills the command once a set of those has an asset in the spool and none is committed."""
        process = self.start_render()
        spool = Path(self.env["DATAENGINE_SPOOL"])
        while process.poll() is None and not list(spool.glob("*/*.tar")):
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not all(self.tars(name) for name in folders), "the command was done before it could be killed"


@pytest.mark.slow
def test_sets_that_are_added_and_killed_leave_the_first_alone(models: Path, tmp_path: Path) -> None:
    runs, together = SetRuns(tmp_path / "a"), SetRuns(tmp_path / "b")
    runs.plan_sets(models, "orbit8")
    runs.render()
    first, when = runs.tars("orbit8"), runs.when("orbit8")
    assert len(first) == 2 and len(when) == ASSETS

    runs.plan_sets(models, "six_views", "wide=orbit24:resolution=24")
    runs.kill_amid("six_views", "wide")
    runs.render()
    assert runs.tars("orbit8") == first and runs.when("orbit8") == when, "a finished set was rendered again"
    corpus = Corpus.open(runs.corpus)
    failed = [r["error"] for s in corpus.config.sets for n in corpus.shards() for r in rows(corpus, s.stage, n)]
    assert failed.count("MALFORMED") == 3  # the import's failure is a row of every set

    together.plan_sets(models, "wide=orbit24:resolution=24", "orbit8", "six_views")
    together.kill_amid("orbit8", "six_views", "wide")
    together.render()
    for name in ("orbit8", "six_views", "wide"):
        assert together.tars(name) == runs.tars(name), f"{name} depends on what else was pending"


def rows(corpus: Corpus, stage: str, shard: int) -> list[dict[str, object]]:
    fragment = corpus.fragment(stage, shard)
    assert fragment is not None
    return list(fragment.table.to_pylist())


@pytest.mark.slow
def test_a_retry_of_one_set_leaves_the_others_alone(models: Path, tmp_path: Path) -> None:
    """An asset's file is away while the second set is rendered; the retry names that set."""
    runs = SetRuns(tmp_path / "c")
    runs.plan_sets(models, "orbit8")
    runs.render()
    runs.plan_sets(models, "six_views")
    lost = models / "0.glb"
    lost.rename(tmp_path / "0.glb")
    try:
        runs.render()
    finally:
        (tmp_path / "0.glb").rename(lost)
    first, when = runs.tars("orbit8"), runs.when("orbit8")
    corpus = Corpus.open(runs.corpus)
    errors = [r["error"] for n in corpus.shards() for r in rows(corpus, "views/six_views", n)]
    assert errors.count("FETCH_404") == 1
    runs.render("--retry", "--views", "six_views")
    errors = [r["error"] for n in corpus.shards() for r in rows(corpus, "views/six_views", n)]
    assert errors.count("FETCH_404") == 0 and errors.count(None) == ASSETS - 1
    assert runs.tars("orbit8") == first and runs.when("orbit8") == when
