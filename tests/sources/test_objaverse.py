import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.model_files.preflight import preflight
from dataengine.sources.locate import locate
from dataengine.sources.objaverse import REPO
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import COMMIT, Hub

AT = f"/datasets/{REPO}/resolve/{COMMIT}"
LICENCES = ["by", "by-nc", "by-nc-sa", "by-sa", "cc0", None]


def annotation(uid: str, n: int) -> dict[str, Any]:
    return {
        "uri": f"https://api.sketchfab.com/v3/models/{uid}",
        "uid": uid,
        "name": f"Model {n}",
        "staffpickedAt": "2021-01-01T00:00:00" if n == 0 else None,
        "viewCount": 100 * n,
        "likeCount": n,
        "animationCount": 0,
        "viewerUrl": f"https://sketchfab.com/3d-models/{uid}",
        "commentCount": 0,
        "publishedAt": "2022-02-02T02:02:02",
        "tags": [{"name": "chair", "slug": "chair", "uri": "x"}] if n % 2 else [],
        "faceCount": 1000 * n,
        "vertexCount": 500 * n,
        "license": LICENCES[n % 6],
        "user": {"username": f"user{n}", "displayName": f"User {n}"},
        "description": "",
    }


def publish(hub: Hub, count: int = 12) -> list[str]:
    """Objaverse in small: two folders, the files under their published names."""
    uids = [f"{n:032x}" for n in range(count)]
    paths = {uid: f"glbs/000-00{n % 2}/{uid}.glb" for n, uid in enumerate(uids)}
    hub.files[f"{AT}/object-paths.json.gz"] = gzip.compress(json.dumps(paths).encode())
    for folder in range(2):
        notes = {u: annotation(u, n) for n, u in enumerate(uids) if n % 2 == folder}
        hub.files[f"{AT}/metadata/000-00{folder}.json.gz"] = gzip.compress(json.dumps(notes).encode())
    lvis = {"chair": uids[:3], "table": uids[3:5]}
    hub.files[f"{AT}/lvis-annotations.json.gz"] = gzip.compress(json.dumps(lvis).encode())
    for n, uid in enumerate(uids):
        hub.files[f"{AT}/{paths[uid]}"] = files.glb(n + 1)
    return uids


def plan(corpus: Path, cache: Path, source: str = "objaverse", **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[source], render=RenderConfig(), cache=cache, **options)
    return pq.read_table(corpus / "plan/assets.parquet").to_pylist()


def test_the_published_files_become_rows(hub: Hub, cache: Path, tmp_path: Path) -> None:
    uids = publish(hub)
    rows = plan(tmp_path / "c", cache)
    assert [r["uid"] for r in rows] == uids
    row = rows[1]
    assert row["uri"] == f"{hub.url}{AT}/glbs/000-001/{uids[1]}.glb"
    assert (row["licence"], row["author"], row["title"]) == ("cc-by-nc-4.0", "User 1", "Model 1")
    assert (row["tags"], row["face_count"], row["vertex_count"]) == (["chair"], 1000, 500)
    assert row["page_url"] == f"https://sketchfab.com/3d-models/{uids[1]}"
    assert Corpus.open(tmp_path / "c").config.sources[0].revision == f"{REPO}@{COMMIT}"


def test_the_objaverse_package_reads_the_same_rows(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import objaverse

    uids = publish(hub)
    for name in hub.files:  # its cache, filled by us: it has no other way to be aimed
        if name.endswith(".json.gz"):
            path = tmp_path / "package" / name.removeprefix(f"{AT}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(hub.files[name])
    monkeypatch.setattr(objaverse, "_VERSIONED_PATH", str(tmp_path / "package"))
    rows = plan(tmp_path / "c", cache)
    assert objaverse.load_uids() == [r["uid"] for r in rows]
    notes = objaverse.load_annotations(uids)
    assert {u: (n["name"], n["faceCount"]) for u, n in notes.items()} == {
        r["uid"]: (r["title"], r["face_count"]) for r in rows
    }
    lvis = objaverse.load_lvis_annotations()
    chosen = plan(tmp_path / "d", cache, "objaverse:lvis")
    assert {r["uid"] for r in chosen} == {u for uids in lvis.values() for u in uids}


def test_filters_see_what_objaverse_knows(hub: Hub, cache: Path, tmp_path: Path) -> None:
    uids = publish(hub)
    where = "licence in ('cc-by-4.0', 'cc0-1.0') and face_count < 9000 and likes > 0"
    assert [r["uid"] for r in plan(tmp_path / "a", cache, where=where)] == [uids[4], uids[6]]
    assert len(plan(tmp_path / "b", cache, where="category = 'chair' or list_contains(tags, 'chair')")) == 8
    with pytest.raises(UsageError, match='did you mean "category"'):
        plan(tmp_path / "c", cache, where="categroy = 'chair'")


def test_a_small_corpus_first(hub: Hub, cache: Path, tmp_path: Path) -> None:
    uids = publish(hub)
    assert [r["uid"] for r in plan(tmp_path / "a", cache, limit=1)] == uids[:1]
    assert f"{AT}/metadata/000-001.json.gz" not in hub.requests
    drawn = [r["uid"] for r in plan(tmp_path / "b", cache, sample=4)]
    assert len(drawn) == 4 and drawn == [r["uid"] for r in plan(tmp_path / "c", cache, sample=4)]
    assert drawn == sorted(drawn) and set(drawn) != set(uids[:4])


def test_a_plan_keeps_the_revision_that_it_pinned(hub: Hub, cache: Path, tmp_path: Path) -> None:
    publish(hub)
    plan(tmp_path / "c", cache)
    asked = hub.requests.total()
    plan(tmp_path / "c", cache)
    assert hub.requests.total() == asked


def test_an_asset_is_fetched_and_passes_the_preflight(hub: Hub, cache: Path, tmp_path: Path) -> None:
    publish(hub)
    row = plan(tmp_path / "c", cache)[3]
    found = locate(row).fetch(cache, Limits())
    path = found.main
    assert path.suffix == ".glb" and path.read_bytes() == files.glb(4)
    preflight(path, row["format"], Limits(), found.root)


def test_missing_annotations_are_said(hub: Hub, cache: Path, tmp_path: Path) -> None:
    publish(hub)
    del hub.files[f"{AT}/metadata/000-001.json.gz"]
    summary = plan_corpus(tmp_path / "c", sources=["objaverse"], render=RenderConfig(), cache=cache)
    assert "has no metadata/000-001.json.gz" in summary.notes[0]
    assert summary.planned == 12 and summary.licences["unknown"] == 6
    assert summary.flagged == 6 + 2  # of the others, two are by-nc-sa


def test_a_hub_that_fails_is_one_clear_line(hub: Hub, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataengineError, match=r"object-paths.json.gz: 404"):
        plan(tmp_path / "c", cache)
    hub.files[f"{AT}/object-paths.json.gz"] = b"not gzip"
    with pytest.raises(DataengineError, match="is damaged"):
        plan(tmp_path / "c", cache)
    with pytest.raises(UsageError, match="unknown part 'xl'"):
        plan(tmp_path / "c", cache, "objaverse:xl")
    hub.gated["/"] = "another token"
    with pytest.raises(DataengineError, match="refuses the token"):
        plan(tmp_path / "c", cache)
