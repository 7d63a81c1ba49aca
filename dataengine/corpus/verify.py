"""Does a corpus hold what its manifest says? Every byte is read once; memory stays flat.

Differences (something is lost or wrong) are told from garbage (tars that no fragment names, which a `--retry`, a
second run or a kill between two writes leaves behind). Garbage can be pruned while shards are committed, see prune.py.
A reader that opened a fragment before a retry replaced it may still be at work on the old tar: prune when no such
reader is.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import Fragment, fragment_name, is_as_written, list_fragments, list_stages
from dataengine.corpus.gone import removed_assets, traces
from dataengine.corpus.prune import prune as drop
from dataengine.corpus.prune import put_back, shard_of
from dataengine.errors import DataengineError

CHUNK = 1 << 20


@dataclass(frozen=True, order=True)
class Difference:
    """One thing that is not as the manifest says, and in which file."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass
class Verified:
    """What `verify` found.

    Attributes:
        fragments, members, bytes: what was checked.
        differences: what is wrong, in the order of the shards; empty if all is well.
        garbage: files that nothing names and `prune` may drop, now or later. A tar whose shard's fragment cannot be
            read is none: the fragment may have named it.
        pruned: those that were dropped.
    """

    fragments: int = 0
    members: int = 0
    bytes: int = 0
    differences: list[Difference] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)


def verify(
    corpus: Corpus,
    *,
    stages: Sequence[str] | None = None,
    prune: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Checks each fragment against its tar, byte for byte, and against the plan.

    Args:
        corpus: any corpus; it may be in use.
        stages: which; default: all that there are.
        prune: also drop garbage; waits up to prune.SETTLED for a tar that was written just now.
        progress: told the name of each file before it is read.

    Raises:
        DataengineError: if the store cannot be reached.
    """
    if prune:
        corpus.store.check_writable()
    found = Verified()
    planned = set(corpus.shards())
    found.differences += [Difference(name, what) for name, what in traces(corpus, removed_assets(corpus))]
    if corpus.config.plan_sha256 not in (None, hashlib.sha256(corpus.store.read(PLAN)).hexdigest()):
        found.differences.append(Difference(PLAN, f"its hash is not the one in {CONFIG}"))
    for stage in stages or list_stages(corpus.store):
        if prune:
            put_back(corpus, stage)
        # Files first, fragments after: a tar that is committed meanwhile is then named by the fragment that is read.
        there = corpus.store.versions(stage, hidden=True)
        named: set[str] = set()
        unknown: set[int] = set()
        for shard in sorted(list_fragments(corpus.store, stage)):
            name = fragment_name(stage, shard)
            progress(name)
            try:
                fragment = corpus.fragment(stage, shard)
            except DataengineError as e:
                found.differences.append(Difference(name, f"cannot be read: {e}"))
                unknown.add(shard)
                continue
            if fragment is None:  # removed since it was listed
                continue
            found.fragments += 1
            if fragment.stage != stage:  # another corpus's, that somebody keeps in here: its tars have other names
                unknown.add(shard)
            try:
                found.differences += [
                    Difference(name, what) for what in _fragment_faults(corpus, planned, stage, shard, fragment)
                ]
                if fragment.tar is not None:
                    named.add(fragment.tar)
                    _check_tar(corpus, stage, shard, fragment, found)
            except (pa.ArrowException, KeyError, TypeError, ValueError, OverflowError) as e:
                found.differences.append(Difference(name, f"its rows cannot be read: {type(e).__name__} {e}"))
                unknown.add(shard)
        unnamed = [
            n for n in sorted(there) if n not in named and n.endswith((".tar", ".tmp")) and shard_of(n) not in unknown
        ]
        found.garbage += unnamed
        if prune:
            found.pruned += [n for n in unnamed if drop(corpus, stage, n)]
    return found


def _fragment_faults(corpus: Corpus, planned: set[int], stage: str, shard: int, fragment: Fragment) -> Iterator[str]:
    if (fragment.stage, fragment.shard) != (stage, shard):
        yield f"is the fragment of {fragment.stage} shard {fragment.shard}"
    if not is_as_written(fragment):
        yield "its rows are not those that were written"
    rows = fragment.table.select(["uid", "status", "tar", "members"]).to_pylist()
    for row in rows:
        if row["tar"] != fragment.tar and row["members"]:
            yield f"{row['uid']} names the tar {row['tar']}, the fragment {fragment.tar}"
        if row["status"] == "ok" and not row["members"]:
            yield f"{row['uid']} is ok but has no members"
    if shard not in planned:
        yield "the plan has no such shard"
        return
    plan = corpus.plan(shard)
    view_set = corpus.config.set_of(stage)
    if view_set is not None and fragment.input == plan["shard_input"][0].as_py() + view_set.input:
        wanted, there = plan["uid"].to_pylist(), [row["uid"] for row in rows]
        if wanted != there:
            yield f"its rows are not the plan's: {len(there)} instead of {len(wanted)}, or in another order"


def _check_tar(corpus: Corpus, stage: str, shard: int, fragment: Fragment, found: Verified) -> None:
    tar = str(fragment.tar)
    faults = list(_tar_faults(corpus, tar, fragment, found))
    if faults:
        # A retry may have replaced the fragment, and a prune dropped the tar, since the fragment was read.
        now = corpus.fragment(stage, shard)
        if now is None or now.tar == tar:
            found.differences += [Difference(tar, what) for what in faults]


def _tar_faults(corpus: Corpus, tar: str, fragment: Fragment, found: Verified) -> Iterator[str]:
    expected = {
        f"{row['uid']}.{m['name']}": (m["offset"], m["size"], m["sha256"])
        for row in fragment.table.select(["uid", "members"]).to_pylist()
        for m in row["members"] or []
    }
    try:
        file = corpus.store.open(tar, CHUNK)
    except FileNotFoundError:
        yield f"is named by {fragment_name(fragment.stage, fragment.shard)} but is not there"
        return
    with file:
        source = _Hashing(file)
        try:
            for name, offset, size, sha256 in _members(source):
                wanted = expected.pop(name, None)
                found.members += 1
                if wanted is None:
                    yield f"member {name} is not in the manifest"
                elif (offset, size) != wanted[:2]:
                    yield f"member {name} is at bytes {offset}+{size}, the manifest says {wanted[0]}+{wanted[1]}"
                elif sha256 != wanted[2]:
                    yield f"member {name} has changed: its hash is not the manifest's"
        except (tarfile.TarError, EOFError) as e:
            yield f"is damaged near byte {source.position}: {e}"
        while source.read(CHUNK):
            pass
    found.bytes += source.position
    for name in expected:
        yield f"member {name} is missing"
    if source.sha256.hexdigest() != fragment.tar_sha256:
        yield "the whole file's hash is not the manifest's"


def _members(source: "_Hashing") -> Iterator[tuple[str, int, int, str]]:
    """(name, offset, size, sha256) of a tar's members, read once from start to end."""
    with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK, errorlevel=2) as tar:  # type: ignore[call-overload]
        for info in tar:
            content = tar.extractfile(info)
            if content is None:
                yield info.name, info.offset_data, 0, ""
                continue
            digest = hashlib.sha256()
            size = 0
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            if size != info.size:
                raise EOFError(f"the file ends inside {info.name}")
            yield info.name, info.offset_data, size, digest.hexdigest()
            tar.members = []  # tarfile keeps every header it has seen


class _Hashing:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.position = 0

    def read(self, size: int) -> bytes:
        data: Any = self.file.read(size)
        self.sha256.update(data)
        self.position += len(data)
        return bytes(data)
