"""What reads files, one function each: given damaged bytes, it may give a result or a typed error, and nothing else.

A target is a function from a folder to (good bytes, try it). Trying raises DataengineError (AssetFailure is one) for a
file that is refused, Wrong for a result that is not what was stored, and anything else is a find.
"""

import dataclasses
import hashlib
import io
import json
import shutil
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import Fragment, fragment_name
from dataengine.corpus.result import Result
from dataengine.corpus.shards import read_member
from dataengine.corpus.verify import verify
from dataengine.download.archives import extract
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.manifests.catalog import Catalog
from dataengine.model_files.preflight import preflight
from dataengine.render import exr
from dataengine.render.answer import Nonsense, checked
from dataengine.sources.locate import locate
from dataengine.stages.plan import plan_corpus
from dataengine.stages.spool import Spool
from dataengine.tokenize.checkpoint import read_tensors
from dataengine.training.checkpoints import read_state
from tests import asset_files as files
from tests.render.test_views import passes, write_exr
from tests.synthetic import make_corpus

Try = Callable[[bytes], None]
Target = Callable[[Path], tuple[list[bytes], Try]]
VIEWS = "views/orbit8"
LIMITS = Limits(cpu_seconds=10, wall_seconds=60, memory_bytes=1 << 30)


class Wrong(Exception):
    """Damaged bytes were taken for good ones, and gave another result."""


def model(suffix: str, *good: bytes) -> Target:
    def target(folder: Path) -> tuple[list[bytes], Try]:
        path = folder / f"model.{suffix}"

        def attempt(data: bytes) -> None:
            path.write_bytes(data)
            preflight(path, "usd" if suffix == "usda" else suffix, LIMITS)

        return list(good), attempt

    return target


def archive(folder: Path) -> tuple[list[bytes], Try]:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name in ("m/model.glb", "m/t/u.png", "other/x"):
            z.writestr(zipfile.ZipInfo(name), files.glb(3), zipfile.ZIP_DEFLATED)
    path, out = folder / "a.zip", folder / "out"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        out.mkdir()
        try:
            extract(path, "m/model.glb", out, LIMITS)
        finally:
            shutil.rmtree(out)

    return [buffer.getvalue()], attempt


def url_list(folder: Path) -> tuple[list[bytes], Try]:
    good = (
        b"url,sha256,title,format,license\n"
        b"https://example.org/a/b.glb,,A chair,glb,CC-BY\n"
        b's3://bucket/x.obj,,"A, quoted ""one""",obj,\n'
        b"zip://m/x.glb::https://example.org/a.zip,,,,\n"
    )
    path = folder / "list.csv"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        corpus = folder / "corpus"
        shutil.rmtree(corpus, ignore_errors=True)
        plan_corpus(str(corpus), sources=[f"csv:{path}"], render=RenderConfig(), cache=folder / "cache")
        for row in pq.read_table(corpus / PLAN).to_pylist():
            locate(row)

    return [good], attempt


def captions(folder: Path) -> tuple[list[bytes], Try]:
    (folder / "models").mkdir()
    (folder / "models" / "a.glb").write_bytes(files.glb())
    path = folder / "captions.csv"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        corpus = folder / "corpus"
        shutil.rmtree(corpus, ignore_errors=True)
        plan_corpus(str(corpus), sources=[f"local:{folder / 'models'}"], render=RenderConfig(), captions=[str(path)])

    return [b'uid,caption\na,"A chair, ""old"""\n' + b"b,\xc3\xbc\n" * 20], attempt


def corpus_file(name: str, read: Callable[[Corpus], object]) -> Target:
    """A file of ours in a small corpus, and what reads it."""

    def target(folder: Path) -> tuple[list[bytes], Try]:
        make_corpus(folder / "corpus", 8, tokens=[0])
        path = folder / "corpus" / name
        good = path.read_bytes()

        def attempt(data: bytes) -> None:
            path.write_bytes(data)
            read(Corpus.open(str(folder / "corpus")))

        return [good], attempt

    return target


def said(fragment: Fragment | None) -> object:
    """All that a reader may take from a fragment: not what the elements of a list are called in its schema."""
    assert fragment is not None
    return dataclasses.replace(fragment, table=None, head={}), repr(fragment.table.to_pylist())


def fragment(folder: Path) -> tuple[list[bytes], Try]:
    """Reading one whose footer is damaged may give another head; `verify` computes its hash."""
    corpus = make_corpus(folder / "corpus", 8)
    path = folder / "corpus" / fragment_name(VIEWS, 0)
    good = path.read_bytes()
    wanted = said(corpus.fragment(VIEWS, 0))

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        got = Corpus.open(corpus.url).fragment(VIEWS, 0)
        if said(got) != wanted and not verify(corpus).differences:
            raise Wrong(repr(got))

    return [good], attempt


def plan(folder: Path) -> tuple[list[bytes], Try]:
    """Reading a damaged plan may give other rows (a footer has no checksum); `verify` compares its hash."""
    corpus = make_corpus(folder / "corpus", 8)
    path = folder / "corpus" / PLAN
    good = path.read_bytes()
    named = corpus.config.model_copy(update={"plan_sha256": hashlib.sha256(good).hexdigest()})
    (folder / "corpus" / CONFIG).write_text(named.to_yaml())

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        opened = Corpus.open(str(folder / "corpus"))
        if data != good and not verify(opened).differences:
            raise Wrong("verify saw no difference")
        for shard in opened.shards():
            opened.plan(shard).to_pylist()

    return [good], attempt


def tar(folder: Path) -> tuple[list[bytes], Try]:
    corpus = make_corpus(folder / "corpus", 4)
    fragment = corpus.fragment(VIEWS, 0)
    assert fragment is not None and fragment.tar is not None
    path = folder / "corpus" / fragment.tar
    good = path.read_bytes()
    rows = [r for r in fragment.table.to_pylist() if r["members"]]

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        if data != good and not verify(corpus).differences:
            raise Wrong("verify saw no difference")
        for row in rows:
            for member in row["members"]:
                content = read_member(corpus.store, row["tar"], member)
                if content != good[member["offset"] : member["offset"] + member["size"]]:
                    raise Wrong(f"member {member['name']} is not what was stored")

    return [good], attempt


def spool(folder: Path) -> tuple[list[bytes], Try]:
    kept = Spool("fuzz")
    kept.folder = folder / "spool"
    result = Result({"uid": "a", "finished_at": datetime(2026, 1, 2, tzinfo=UTC)}, {"00.rgba.png": bytes(range(256))})
    kept.put("a", result)
    path = kept.folder / "a.tar"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        if (got := kept.get("a")) is None:
            raise DataengineError("not there")
        if got != result:
            raise Wrong("a spooled result is not what was put")

    return [path.read_bytes()], attempt


def safetensors(folder: Path) -> tuple[list[bytes], Try]:
    from safetensors.numpy import save

    path = folder / "weights.safetensors"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        read_tensors(path)

    return [save({"a": np.arange(12.0).reshape(3, 4), "b": np.zeros(2, np.int32)})], attempt


def pickle(folder: Path) -> tuple[list[bytes], Try]:
    import torch

    path = folder / "weights.ckpt"
    torch.save({"state_dict": {"a": torch.arange(12.0)}}, path)

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        read_tensors(path)

    return [path.read_bytes()], attempt


def run_state(folder: Path) -> tuple[list[bytes], Try]:
    path = folder / "state.json"
    good = json.dumps({"step": 3, "stage": "t2mv", "config": {"corpus": "c", "steps": 5}, "data": [1, 2]}).encode()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        read_state(folder)

    return [good], attempt


def answer(_: Path) -> tuple[list[bytes], Try]:
    good = {
        "error": "",
        "message": "",
        "exr": ["a.exr"],
        "scale": 1.5,
        "offset": [0.0, 1.0, 2.0],
        "radius": 0.5,
        "up": "Z",
        "face_count": 12,
        "missing_textures": ["a.png"],
        "complaints": [],
        "seconds": {"import": 0.1, "render": 1.0},
        "cpu_seconds": 1.0,
        "peak_memory": 1 << 30,
    }

    def attempt(data: bytes) -> None:
        try:
            parsed = json.loads(data)
            if not isinstance(parsed, dict):
                raise Nonsense("no object")
            reply = checked(parsed, "", 16)
        except (Nonsense, ValueError, RecursionError) as e:
            raise DataengineError(str(e)) from e
        json.dumps(reply.to_json()).encode()
        ErrorCode(reply.error or "CRASH")

    return [json.dumps(good).encode()], attempt


def picture(folder: Path) -> tuple[list[bytes], Try]:
    path = write_exr(folder / "a.exr", passes("v0", np.random.default_rng(0).random((4, 4, 4)), np.ones((4, 4))))
    good = path.read_bytes()

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        try:
            exr.read(path)
        except exr.NotOurs as e:
            raise AssetFailure(ErrorCode.CRASH, str(e)) from e

    return [good], attempt


TARGETS: dict[str, Target] = {
    "glb": model("glb", files.glb(), files.glb(5)),
    "gltf": model("gltf", json.dumps(files.gltf_document()[0]).encode()),
    "fbx": model("fbx", files.fbx()),
    "obj": model("obj", b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n" * 3),
    "dae": model("dae", files.dae()),
    "stl": model("stl", files.stl(), files.stl(4)),
    "ply": model("ply", files.ply()),
    "usda": model("usda", files.USDA.format(reference="other.usda").encode()),
    "blend": model("blend", b"BLENDER-v405" + struct.pack("<4sIQII", b"DNA1", 64, 1, 0, 1) + bytes(64)),
    "archive": archive,
    "list": url_list,
    "captions": captions,
    "corpus.yaml": corpus_file(CONFIG, lambda corpus: corpus.config),
    "plan": plan,
    "fragment": fragment,
    "catalog": corpus_file(CONFIG, lambda corpus: Catalog(corpus.url).sql("select count(*) from assets").fetchall()),
    "tar": tar,
    "spool": spool,
    "safetensors": safetensors,
    "ckpt": pickle,
    "state.json": run_state,
    "answer": answer,
    "exr": picture,
}
