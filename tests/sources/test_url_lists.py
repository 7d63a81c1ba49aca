import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
from dataengine.sources import url_lists
from dataengine.sources.locate import locate
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import COMMIT, Hub

UID = "0123456789abcdef0123456789abcdef"
XL = f"/datasets/{url_lists.XL}/resolve/{COMMIT}"
OBJAVERSE = f"/datasets/{url_lists.OBJAVERSE}/resolve/{COMMIT}"
GITHUB = f"https://github.com/org/repo/blob/{'a' * 40}/models/chair one.glb"
RAW = f"/org/repo/{'a' * 40}/models/chair one.glb"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def plan(corpus: Path, cache: Path, source: str, **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[source], render=RenderConfig(), cache=cache, **options)
    return pq.read_table(corpus / "plan/assets.parquet").to_pylist()


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(r) for r in rows]), buffer)
    return buffer.getvalue()


def publish(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objaverse-XL in small."""
    monkeypatch.setattr(url_lists, "GITHUB_RAW", hub.url)
    monkeypatch.setattr(url_lists, "THINGIVERSE", f"{hub.url}/download:")

    def row(identifier: str, kind: str, content: bytes, licence: str | None, source: str) -> dict[str, Any]:
        return {
            "fileIdentifier": identifier,
            "source": source,
            "license": licence,
            "fileType": kind,
            "sha256": sha(content),
            "metadata": "{}",
        }

    thing = "https://www.thingiverse.com/thing:3160/files?fileId=77"
    hub.files[RAW] = files.glb(1)
    hub.files[f"{OBJAVERSE}/glbs/000-001/{UID}.glb"] = files.glb(2)
    hub.files["/download:77"] = files.stl()
    hub.files["/si/x.glb"] = files.glb(4)
    rows = {
        "github": [
            row(GITHUB, "glb", files.glb(1), "MIT License", "github"),
            row(GITHUB.replace("chair one.glb", "old.abc"), "abc", b"abc", None, "github"),
        ],
        "sketchfab": [
            row(
                f"https://sketchfab.com/3d-models/{UID}",
                "glb",
                files.glb(2),
                "Creative Commons - Attribution",
                "sketchfab",
            )
        ],
        "thingiverse": [row(thing, "stl", files.stl(), "Creative Commons - Attribution - Share Alike", "thingiverse")],
        "smithsonian": [row(f"{hub.url}/si/x.glb", "glb", files.glb(4), "CC0", "smithsonian")],
    }
    for part, content in rows.items():
        hub.files[f"{XL}/{part}/{part}.parquet"] = parquet(content)
    paths = {UID: f"glbs/000-001/{UID}.glb"}
    hub.files[f"{OBJAVERSE}/object-paths.json.gz"] = gzip.compress(json.dumps(paths).encode())


def test_all_of_objaverse_xl_is_planned_and_fetched(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, monkeypatch)
    rows = plan(tmp_path / "c", cache, "objaverse-xl")
    assert [r["format"] for r in rows] == ["glb", "abc", "glb", "stl", "glb"]
    assert [r["licence"] for r in rows] == ["mit", None, "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0"]
    assert rows[0]["uid"] == sha(files.glb(1))[:32]
    assert rows[0]["page_url"] == GITHUB
    assert rows[2]["uid"] == UID
    assert rows[2]["uri"] == f"{hub.url}{OBJAVERSE}/glbs/000-001/{UID}.glb"
    for row in (rows[0], rows[2], rows[3], rows[4]):
        path = locate(row).fetch(cache, Limits()).main
        assert sha(path.read_bytes()) == row["sha256"] and path.suffix == f".{row['format']}"
    with pytest.raises(AssetFailure) as failure:
        locate(rows[1]).fetch(cache, Limits())
    assert failure.value.code is ErrorCode.FETCH_404
    assert (
        Corpus.open(tmp_path / "c").config.sources[0].revision
        == f"{url_lists.OBJAVERSE}@{COMMIT},{url_lists.XL}@{COMMIT}"
    )


def test_a_part_and_a_filter_of_objaverse_xl(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, monkeypatch)
    rows = plan(tmp_path / "c", cache, "objaverse-xl:github", where="format = 'glb' and licence = 'mit'")
    assert [r["uid"] for r in rows] == [sha(files.glb(1))[:32]]
    assert f"{OBJAVERSE}/object-paths.json.gz" not in hub.requests
    with pytest.raises(UsageError, match="it has github, sketchfab"):
        plan(tmp_path / "c", cache, "objaverse-xl:polycam")
    del hub.files[f"{XL}/smithsonian/smithsonian.parquet"]
    with pytest.raises(DataengineError, match=r"smithsonian.parquet: 404"):
        plan(tmp_path / "d", cache, "objaverse-xl:smithsonian")


def test_a_modified_file_is_typed(hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, monkeypatch)
    row = plan(tmp_path / "c", cache, "objaverse-xl:github")[0]
    hub.files[RAW] = b"changed"
    with pytest.raises(AssetFailure) as failure:
        locate(row).fetch(cache, Limits())
    assert failure.value.code is ErrorCode.SHA_MISMATCH


def test_captions_find_xl_assets_by_hash_and_by_identifier(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, monkeypatch)
    (tmp_path / "cap3d.csv").write_text(f"{sha(files.glb(1))},by hash\n{UID},by uid\n")
    (tmp_path / "named.csv").write_text(
        "fileIdentifier,caption\nhttps://www.thingiverse.com/thing:3160/files?fileId=77,by page\n"
    )
    captions = [str(tmp_path / "cap3d.csv"), str(tmp_path / "named.csv")]
    rows = plan(tmp_path / "c", cache, "objaverse-xl", captions=captions)
    assert [r["caption"] for r in rows] == ["by hash", None, "by uid", "by page", None]


def test_trellis_lists_are_read_as_they_are(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, monkeypatch)
    monkeypatch.setattr(url_lists, "ABO", hub.url)
    glb = f"objects/a/{'a' * 40}.glb"
    text = "sha256,file_identifier,aesthetic_score,captions\n"
    text += f'{sha(files.glb(2))},https://sketchfab.com/3d-models/{UID},5.5,"[""a duck"", ""a bird""]"\n'
    text += f"{'1' * 64},{glb},4.0,\n{'2' * 64},A/B07ABCDEFG.glb,6.5,\n"
    (tmp_path / "list.csv").write_text(text)
    rows = plan(tmp_path / "c", cache, f"csv:{tmp_path / 'list.csv'}", where="aesthetic_score >= 4")
    assert [r["uri"].removeprefix(hub.url) for r in rows] == [
        f"{OBJAVERSE}/glbs/000-001/{UID}.glb",
        f"/datasets/{url_lists.HSSD}/resolve/{COMMIT}/{glb}",
        "/3dmodels/original/A/B07ABCDEFG.glb",
    ]
    assert [r["caption"] for r in rows] == ["a duck", None, None]
    assert [r["sha256"] for r in rows][1:] == ["1" * 64, "2" * 64]


def test_a_list_of_ones_own(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.glb").write_bytes(files.glb(1))
    (tmp_path / "models/b.glb").write_bytes(files.glb(2))
    (tmp_path / "list.csv").write_text(
        "uri,License,Up,tag,sha256\nmodels/a.glb,CC BY 4.0,z,x,\nmodels/b.glb,,,y,"
        + "0" * 64
        + "\nmemory://m/c.obj,,,z,\n"
    )
    rows = plan(tmp_path / "c", cache, f"csv:{tmp_path / 'list.csv'}", where="tag <> 'w'")
    assert [(r["licence"], r["up"], r["format"]) for r in rows] == [
        ("cc-by-4.0", "Z", "glb"),
        (None, None, "glb"),
        (None, None, "obj"),
    ]
    assert locate(rows[0]).fetch(cache, Limits()).main == tmp_path / "models/a.glb"
    with pytest.raises(AssetFailure) as failure:
        locate(rows[1]).fetch(cache, Limits())
    assert failure.value.code is ErrorCode.SHA_MISMATCH


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"uri,uri\na,b\n", "the column uri more than once"),
        (b"foo,bar\na,b\n", "needs a column that says where"),
        (b"\xff\xfe,x\n", "neither Parquet nor CSV"),
        (b"PAR1nonsense", "cannot be read"),
    ],
)
def test_a_wrong_list_is_one_clear_line(cache: Path, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words) as error:
        plan(tmp_path / "c", cache, f"csv:{tmp_path / 'list.csv'}")
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="there is no list"):
        plan(tmp_path / "c", cache, "csv:nowhere.csv")


BAD_LINES = [
    "http://[::1]:9/x.glb",
    "http://[bad/x.glb",
    "http://127.0.0.1:9/x.glb",
    "foo://x.glb",
    "file:///etc/passwd",
    "https://example.org/no-extension",
    "zip://m.glb::/etc/x.zip",
    "zip://m.glb::file:///etc/x.zip",
    "zip://m.glb",
    "/etc/passwd",
    '"quo""te.g""lb"',
]


def test_each_bad_line_is_a_row(hub: Hub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAENGINE_ALLOW_PRIVATE", raising=False)
    hub.files["/good.glb"] = files.glb()
    (tmp_path / "list.csv").write_text("\n".join(["url", *BAD_LINES, f"{hub.url}/good.glb"]) + "\n")
    rows = plan(tmp_path / "corpus", cache, f"csv:{tmp_path / 'list.csv'}")
    assert len(rows) == len(BAD_LINES) + 1
    ends: dict[str, ErrorCode | None] = {}
    for row in rows:
        try:
            locate(row).fetch(cache, Limits(wall_seconds=5))
            ends[row["uri"]] = None
        except AssetFailure as failure:
            ends[row["uri"]] = failure.code
    assert ends.pop(f"{hub.url}/good.glb") is None
    assert set(ends.values()) <= {
        ErrorCode.UNSAFE_PATH,
        ErrorCode.MALFORMED,
        ErrorCode.FETCH_404,
        ErrorCode.FETCH_TIMEOUT,
    }
    assert ends["file:///etc/passwd"] is ErrorCode.UNSAFE_PATH
    assert ends["http://[::1]:9/x.glb"] is ErrorCode.UNSAFE_PATH


def test_a_line_without_an_address_is_a_row(tmp_path: Path, cache: Path) -> None:
    """Spreadsheets write empty lines as commas."""
    (tmp_path / "list.csv").write_text("url,title,format\nhttps://example.org/x.glb,a,\n,,\n,b,glb\n")
    rows = plan(tmp_path / "corpus", cache, f"csv:{tmp_path / 'list.csv'}")
    nameless = [row for row in rows if row["title"] != "a"]
    assert nameless and all(row["uid"] for row in nameless)
    with pytest.raises(AssetFailure, match="is a folder"):
        locate(nameless[0]).fetch(cache, Limits(wall_seconds=5))


@pytest.mark.parametrize("word", ["g'lb", 'g"lb', "a.b", "", "$..x", "\\"])
def test_a_format_that_nobody_knows_is_a_row(tmp_path: Path, cache: Path, word: str) -> None:
    quoted = word.replace('"', '""')
    (tmp_path / "list.csv").write_text(f'url,format\nhttps://example.org/x,"{quoted}"\n')
    (row,) = plan(tmp_path / "corpus", cache, f"csv:{tmp_path / 'list.csv'}")
    assert row["format"] in (word, None)
