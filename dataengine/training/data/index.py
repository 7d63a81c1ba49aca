"""Which samples a run sees, and where their bytes are: 12 bytes per sample, whatever the corpus says of them.

The catalog's view `samples` answers the `where` clause; what is kept is the shard, where the sample begins, and the
caption's length; where the plan has another caption than the tar, that one too. A sample's members follow each other,
as in every WebDataset tar, and all samples of a selection have arrays of one shape: so cameras, tokens and caption lie
at the same places behind each beginning, and one read gets all.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from tarfile import BLOCKSIZE
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.guard import sql_errors
from dataengine.training.data.shard_cache import changed, digest, vanished

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """What the arrays of one kind look like in every sample: parsed once, compared bytewise afterwards.

    Attributes:
        header: the .npy header's bytes.
        shape: of one sample.
        dtype: of its elements.
    """

    header: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole member, header included."""
        return len(self.header) + int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True)
class SampleIndex:
    """The selected samples in shard order. Row i of every array is sample i.

    Attributes:
        store: the corpus.
        tars: names of the shards in the store; each carries the start of its content's SHA-256.
        counts: samples of each shard.
        shard: position in `tars`.
        block: of the tar, where the sample's first member begins; a block has 512 bytes.
        caption_size: bytes of the caption; 0 = none.
        tokens_at, cameras_at, caption_at: first byte of the member behind that beginning.
        tokens_layout: (views, rows, columns), unsigned.
        cameras_layout: (views, numbers) float32.
        changed: rows of the samples whose caption in the tar is not the present one, in order.
        captions: theirs, as the plan has them.
        captions_hash: of the present captions of all samples in order: what a run pins.
    """

    store: Store
    tars: list[str]
    counts: Int64
    shard: Int32
    block: Int32
    caption_size: Int32
    tokens_at: int
    cameras_at: int
    caption_at: int
    tokens_layout: Layout
    cameras_layout: Layout
    changed: Int64
    captions: pa.Array
    captions_hash: str

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def nbytes(self) -> int:
        """Bytes the index holds in memory."""
        arrays = (self.shard, self.block, self.caption_size, self.changed, self.captions)
        return sum(a.nbytes for a in arrays)

    def firsts(self) -> Int64:
        """The first row of each shard."""
        firsts: Int64 = np.cumsum(self.counts) - self.counts
        return firsts

    def ends(self) -> Int64:
        """Up to where each shard is read: the arrays of its last sample, and its caption's blocks."""
        arrays = max(self.tokens_at + self.tokens_layout.nbytes, self.cameras_at + self.cameras_layout.nbytes)
        captions = self.caption_at - -self.caption_size.clip(1) // BLOCKSIZE * BLOCKSIZE
        ends = self.block.astype(np.int64) * BLOCKSIZE + captions.clip(arrays)
        lasts: Int64 = np.maximum.reduceat(ends, self.firsts())
        return lasts


def build_index(catalog: Catalog, tokenizer: str, *, split: str | None = None, where: str | None = None) -> SampleIndex:
    """Asks the catalog for samples.

    Args:
        catalog: of the corpus.
        tokenizer: whose tokens to read.
        split: train, val or test; None takes all. Splits follow the asset's group, so no model is on two sides.
        where: SQL condition over the columns of `samples`.

    Raises:
        UsageError: if nothing is selected, the condition is wrong, or the samples differ in shape.
        DataengineError: if the manifest or the first shard cannot be read.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"no split {split!r} (choose from {', '.join(SPLITS)})")
    condition = f"tokenizer = {quote(tokenizer)}" + (f" AND split = '{split}'" if split else "")
    query = f"{_COLUMNS} FROM samples WHERE {condition}" + (f" AND (\n{where}\n)" if where else "")
    store, found = catalog.corpus.store, _Selected()
    for rows in catalog.by_shards(query):
        if rows["block"].null_count or pc.max(rows["odd"]).as_py():
            raise DataengineError(f"{store.url} names samples that do not begin at a tar's blocks; tokenize it again")
        found.add(rows)
        del rows  # the next ones need the room
    if not found.tars:
        raise UsageError(_why_empty(catalog, tokenizer, split, where))
    if any(least != most for least, most in (found.spans[name] for name in _SHAPE)):
        kinds = _rows(catalog, f"SELECT {', '.join(_SHAPE)}, count(*) FROM (\n{query}\n) GROUP BY ALL ORDER BY ALL")
        said = ", ".join(f"{n} of {views} views of {rows}×{columns}" for views, rows, columns, n in kinds)
        raise UsageError(f"the selected samples differ in shape ({said}): choose one kind with --where")
    same = {name: found.only(name) for name in _SAME}
    block = np.concatenate(found.block)
    first = next(iter(found.tars)), int(block[0]) * BLOCKSIZE
    counts = np.array(list(found.tars.values()))
    return SampleIndex(
        store=store,
        tars=list(found.tars),
        counts=counts,
        shard=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        block=block,
        caption_size=np.concatenate(found.caption_size),
        tokens_at=same["tokens_at"],
        cameras_at=same["cameras_at"],
        caption_at=same["caption_at"],
        tokens_layout=_layout(store, first[0], first[1] + same["tokens_at"], same["tokens_size"]),
        cameras_layout=_layout(store, first[0], first[1] + same["cameras_at"], same["cameras_size"]),
        changed=np.concatenate(found.changed),
        captions=pa.concat_arrays(found.captions),
        captions_hash=found.captions_hash.hexdigest(),
    )


_SHAPE = ("num_views", "rows", "columns")
_SAME = {
    "tokens_at": "place of the tokens",
    "cameras_at": "place of the cameras",
    "caption_at": "place of the caption",
    "tokens_size": "size of the tokens",
    "cameras_size": "size of the cameras",
}
_COLUMNS = f"""
    SELECT shard, "row", tar, coalesce(caption_size, 0)::INT AS caption_size,
        least(tokens_offset, cameras_offset) AS first, (first // {BLOCKSIZE})::INT AS block, first % {BLOCKSIZE} AS odd,
        tokens_offset - first AS tokens_at, cameras_offset - first AS cameras_at,
        CASE WHEN caption_size > 0 THEN caption_offset - first END AS caption_at,
        tokens_size, cameras_size, num_views, grid[1] AS "rows", grid[2] AS "columns",
        ('0x' || left(sha256(coalesce(caption, '')), 16))::UBIGINT AS caption_now,
        CASE WHEN CASE WHEN coalesce(caption_size, 0) = 0 THEN coalesce(caption, '') <> ''
            ELSE caption_hash IS DISTINCT FROM caption_now END THEN coalesce(caption, '') END AS changed
"""
# The last two columns: 64 bits of the present caption's SHA-256, and the caption where the tar has another. Shards from
# before their rows had hashes count as changed.


def _rows(catalog: Catalog, query: str) -> list[tuple[Any, ...]]:
    with sql_errors():
        return list(catalog.sql(query).fetchall())


class _Selected:
    """What is kept of the selected rows. They come in pieces, and are sorted here: DuckDB's sort of all takes longer.

    Attributes:
        tars: how many rows each tar has, in order.
        block, caption_size: as in `SampleIndex`, in pieces.
        changed, captions, captions_hash: as there; pieces, and what hashes.
        spans: least and greatest value of the columns that must be the same in all rows; None where all are null.
    """

    def __init__(self) -> None:
        self.tars: dict[str, int] = {}
        self.block: list[Int32] = []
        self.caption_size: list[Int32] = []
        self.changed: list[Int64] = []
        self.captions: list[pa.Array] = []
        self.captions_hash = hashlib.sha256()
        self._count = 0
        self.spans: dict[str, tuple[int | None, int | None]] = {}

    def add(self, rows: pa.Table) -> None:
        """Takes a piece: the columns of `_COLUMNS`, of shards that follow those of the piece before."""
        shard = rows["shard"].to_numpy()
        order = np.argsort(shard.astype(np.int64) << 32 | rows["row"].to_numpy())
        firsts = np.flatnonzero(np.diff(shard[order], prepend=-1))
        tars = rows["tar"].take(pa.array(order[firsts])).to_pylist()
        self.tars.update(zip(tars, np.diff(firsts, append=len(order)).tolist(), strict=True))
        self.block.append(rows["block"].to_numpy()[order])
        self.caption_size.append(rows["caption_size"].to_numpy()[order])
        self.captions_hash.update(rows["caption_now"].to_numpy()[order].astype("<u8").tobytes())
        now = rows["changed"].combine_chunks().cast(pa.large_string()).take(pa.array(order))
        self.changed.append(np.flatnonzero(now.is_valid().to_numpy(zero_copy_only=False)) + self._count)
        self.captions.append(now.drop_null())
        self._count += len(order)
        for name in (*_SHAPE, *_SAME):
            found = [*pc.min_max(rows[name]).as_py().values(), *self.spans.get(name, ())]
            values = [value for value in found if value is not None]
            self.spans[name] = (min(values), max(values)) if values else (None, None)

    def only(self, name: str) -> int:
        """The value of one of `_SAME`; 0 where there is none.

        Raises:
            UsageError: if there are several.
        """
        least, most = self.spans[name]
        if least != most:
            raise UsageError(f"the selected samples differ in {_SAME[name]} ({least} to {most}): narrow --where")
        return least or 0


def _layout(store: Store, tar: str, offset: int, size: int) -> Layout:
    """Parses the header of the first sample's array."""
    try:
        content = store.read_range(tar, offset, size)
    except FileNotFoundError as e:
        raise vanished(store, tar) from e
    except DataengineError as e:
        raise DataengineError(f"{e}; the manifest names the shard with SHA-256 {digest(tar)}…") from e
    member = io.BytesIO(content)
    try:
        major, _ = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
        read: Any = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
    except ValueError as e:
        raise changed(store, tar) from e
    layout = Layout(member.getvalue()[: member.tell()], shape, dtype)
    if fortran or layout.nbytes != size or dtype.hasobject:
        raise changed(store, tar)
    return layout


def _why_empty(catalog: Catalog, tokenizer: str, split: str | None, where: str | None) -> str:
    known = [name for (name,) in _rows(catalog, "SELECT DISTINCT tokenizer FROM samples ORDER BY ALL")]
    if not known:
        return "the corpus has no tokens yet: run `dataengine tokenize` first"
    if tokenizer not in known:
        return f"the corpus has no tokens of {tokenizer!r} (it has {', '.join(known)})"
    of_split = f" of split {split!r}" if split else ""
    return f"no sample{of_split} matches --where {where!r}" if where else f"no sample{of_split} in the corpus"
