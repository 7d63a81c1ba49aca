"""HSSD and ABO in small, as published."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import DataengineError, UsageError
from dataengine.sources import abo, hssd
from dataengine.sources.locate import locate
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import COMMIT, Hub

MODELS = f"/datasets/{hssd.MODELS}/resolve/{COMMIT}"
HABITAT = f"/datasets/{hssd.HABITAT}/resolve/{COMMIT}"


def plan(corpus: Path, cache: Path, source: str, **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[source], render=RenderConfig(), cache=cache, **options)
    return pq.read_table(corpus / "plan/assets.parquet").to_pylist()


def publish_hssd(hub: Hub) -> list[str]:
    ids = [f"{n:x}" * 40 for n in range(3)]
    for n, name in enumerate(ids):
        hub.files[f"{MODELS}/objects/{name[0]}/{name}.glb"] = files.glb(n + 1)
    hub.files[f"{MODELS}/README.md"] = b"x"
    for name, up in ((ids[0], [0, 1, 0]), (ids[1], [0.0, 0.0, 1.0])):
        config = json.dumps({"up": up, "front": [0, 0, -1]}).encode()
        hub.files[f"{HABITAT}/objects/{name[0]}/{name}.object_config.json"] = config
    text = f"id,name,main_category,super_category\n{ids[0]},A lamp,lamp,lighting\n{ids[1]},,chair,\n"
    hub.files[f"{HABITAT}/semantics/objects.csv"] = text.encode()
    hub.gated["/datasets/hssd/"] = "secret"
    return ids


def test_hssd_behind_its_gate(hub: Hub, cache: Path, tmp_path: Path) -> None:
    ids = publish_hssd(hub)
    rows = plan(tmp_path / "c", cache, "hssd")
    assert [r["uid"] for r in rows] == [i[:32] for i in ids]
    assert [(r["title"], r["tags"], r["up"]) for r in rows] == [
        ("A lamp", ["lamp", "lighting"], "Y"),
        (None, ["chair"], "Z"),
        (None, [], None),
    ]
    assert {r["licence"] for r in rows} == {"cc-by-nc-4.0"}
    path = locate(rows[2]).fetch(cache, Limits()).main
    assert path.stem == rows[2]["sha256"] and path.stat().st_size == rows[2]["bytes"]
    assert not hub.tokens_at_cdn or all(p.startswith("/cdn/datasets/hssd/") for p in hub.tokens_at_cdn)


@pytest.mark.parametrize(("token", "words"), [(None, "accept its terms at"), ("wrong", "refuses the token")])
def test_a_gate_that_stays_shut_is_explained(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, words: str
) -> None:
    publish_hssd(hub)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.setattr("dataengine.download.hub.get_token", lambda: None)
    with pytest.raises(DataengineError, match=words) as error:
        plan(tmp_path / "c", cache, "hssd")
    assert f"{hub.url}/datasets/hssd/hssd-models" in str(error.value)


def test_abo_from_its_list(hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abo, "ABO", hub.url)
    text = (
        "3dmodel_id,path,meshes,materials,textures,images,faces,vertices\nB07ABCDEFG,G/B07ABCDEFG.glb,1,1,1,1,12,34\n"
    )
    hub.files[f"/{abo.INDEX}"] = gzip.compress(text.encode())
    hub.files["/3dmodels/original/G/B07ABCDEFG.glb"] = files.glb()
    row = plan(tmp_path / "c", cache, "abo", where="face_count < 100")[0]
    assert (row["licence"], row["face_count"], row["vertex_count"]) == ("cc-by-4.0", 12, 34)
    assert locate(row).fetch(cache, Limits()).main.read_bytes() == files.glb()
    with pytest.raises(UsageError, match="abo has no parts"):
        plan(tmp_path / "c", cache, "abo:x")
