"""A corpus with its verbs, and the functions that open and plan one.

`dataengine.Corpus` is a subclass of the corpus on disk (corpus/corpus.py) and not that class itself: what is on disk
stands beneath the stages and must not know them, while its verbs call them. Each stage takes either.

Everything heavy (Blender, DuckDB, torch) is imported by the verb that needs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataengine.corpus import corpus as on_disk

if TYPE_CHECKING:
    import duckdb

    from dataengine.corpus.fragments import Fragment
    from dataengine.corpus.verify import Verified
    from dataengine.manifests.catalog import Catalog
    from dataengine.manifests.status import CorpusStatus
    from dataengine.stages.fetch import Prefetched
    from dataengine.stages.recaption import Recaptioned
    from dataengine.stages.run import OnAsset
    from dataengine.stages.stage import Stage
    from dataengine.stages.takedown import Removed
    from dataengine.training.data.stream import Stream
    from dataengine.training.data.tar_reader import TarDataset


@dataclass(frozen=True)
class Made:
    """What a call has made.

    Attributes:
        shards: committed by it; 0 if all were done before.
        ok, failed: assets that it finished. `sql("select * from failures")` says why.
    """

    shards: int
    ok: int
    failed: int


class Corpus(on_disk.Corpus):
    """A planned corpus: `dataengine.open(url)` opens one, `dataengine.plan(…)` makes one.

    Every verb goes on where a killed run of it stopped, and leaves done shards alone. `shards` are their numbers; None
    takes all.
    """

    def sql(self, query: str) -> "duckdb.DuckDBPyRelation":
        """Asks the manifest as it is now: `.df()`, `.to_arrow_table()`, `.fetchall()` of what comes back give the rows.

        Read a result to its end, or drop it, before the next query.

        Raises:
            UsageError: if the query is wrong or would write.
        """
        return self._catalog.sql(query)

    def status(self) -> "CorpusStatus":
        """How far each stage is: shards and assets done, failed and left, rate and time left."""
        from dataengine.manifests.catalog import Catalog
        from dataengine.manifests.status import status

        return status(Catalog(self))  # one of its own: a result of `sql` may be open

    def fetch(self, shards: Sequence[int] | None = None) -> "Prefetched":
        """Downloads the assets of shards ahead of rendering them.

        Raises:
            DataengineError: if the cache cannot be written, or is full.
        """
        from dataengine.stages.fetch import prefetch

        return prefetch(self, self._numbers(shards))

    def render(
        self,
        shards: Sequence[int] | None = None,
        *,
        views: str | Sequence[str] = (),
        retry: bool = False,
        workers: int | None = None,
        device: str = "auto",
        sandbox: str = "auto",
        accept_revision: bool = False,
        on_asset: "OnAsset" = lambda row: None,
    ) -> Made:
        """Renders colour, depth and cameras of every asset.

        Args:
            shards: which.
            views: names of view sets, or of one; none: all, with one import of each asset.
            retry: also render the failed assets of done shards again.
            workers: Blender processes; None: one per core, fewer where memory is short.
            device: auto, cpu, cuda, optix, hip, metal or oneapi.
            sandbox: what confines Blender: auto (the strongest that works here), bwrap or kernel.
            accept_revision: render though this version draws other pictures than the corpus was planned for.
            on_asset: called with the row of each asset as it is finished.

        Raises:
            UsageError: for an unknown view set, or one that this version draws otherwise.
            DataengineError: if Blender does not work here, or the corpus cannot be written. What is done is kept.
        """
        from dataengine.stages.render import RenderStage, default_workers

        stage = RenderStage(
            self.config.chosen_sets([views] if isinstance(views, str) else views),
            workers=workers or default_workers(),
            device=device,
            sandbox=sandbox,
            accept_revision=accept_revision,
        )
        return self.run(stage, shards, retry=retry, on_asset=on_asset)

    def tokenize(
        self,
        tokenizer: str = "small",
        shards: Sequence[int] | None = None,
        *,
        views: str | None = None,
        name: str | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
        background: str = "white",
        resolution: int | None = None,
        channel: str = "rgba",
        checks: bool = True,
        retry: bool = False,
        on_asset: "OnAsset" = lambda row: None,
    ) -> Made:
        """Encodes the views into discrete tokens. Shards without views are left alone.

        Args:
            tokenizer: small, or a published one, see docs/tokenizers.md.
            shards: which.
            views: of this view set; may be left out where there is one.
            name: of the tokens, to choose them by; None: the tokenizer's, or where the corpus has several sets, or
                another resolution is asked for, SET-TOKENIZER-RESOLUTION.
            weights: the tokenizer's file, hf://owner/repository/file or small-12; None: those of the tokens that are
                there, else the usual ones.
            device: auto, cpu, cuda.
            background: what the views are composited over: white, grey, black or R,G,B.
            resolution: pixels a side that views are scaled down to first; None: as rendered.
            channel: what of the views is encoded: rgba, or another channel of theirs that holds colours.
            checks: measure the round trip of every view.
            retry: also encode again the assets of done shards that have views and no tokens.
            on_asset: called with the row of each asset as it is finished.

        Raises:
            UsageError: for an unknown tokenizer or view set, views that do not fit, a name that other tokens have, or
                tokens of weights that nobody named.
            DataengineError: if its file cannot be read, or the corpus cannot be written. What is done is kept.
        """
        from dataengine.stages.tokenize import TokenStage
        from dataengine.tokenize import load
        from dataengine.tokenize.detokenize import check_weights, weights_for
        from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device
        from dataengine.tokenize.images import parse_background

        made_with = weights or weights_for(self, tokenizer)
        compute = DeviceTokenizer(load(tokenizer, made_with), pick_device(device))
        if not weights:
            check_weights(self, compute.spec)
        colour = parse_background(background)
        stage = TokenStage.on(compute, background=colour, resolution=resolution, channel=channel, checks=checks)
        return self.run(stage.of(self, views, name), shards, retry=retry, on_asset=on_asset)

    def run(
        self,
        stage: "Stage",
        shards: Sequence[int] | None = None,
        *,
        retry: bool = False,
        on_asset: "OnAsset" = lambda row: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Made:
        """Runs any stage, such as one of your own (`dataengine.Stage`).

        Args:
            stage: what to make of each asset.
            shards: which.
            retry: also the failed assets of done shards again.
            on_asset: called with the row of each asset as it is finished.
            say: told in one line what a person should know.

        Raises:
            DataengineError: if the stage cannot work, or the corpus cannot be written. What is done is kept.
        """
        from dataengine.stages.run import run_shards

        counts = {"ok": 0, "failed": 0}
        committed: list[Fragment] = []

        def count(row: Any) -> None:
            counts[row["status"]] += 1
            on_asset(row)

        run_shards(self, stage, self._numbers(shards), retry=retry, on_asset=count, on_shard=committed.append, say=say)
        return Made(len(committed), **counts)

    def verify(self, *, prune: bool = False) -> "Verified":
        """Compares every tar member with its fragment's hash and range.

        Args:
            prune: also delete tars that no fragment names and that are old enough to be nobody's.
        """
        from dataengine.corpus.verify import verify

        return verify(self, prune=prune)

    def stream(
        self, batch_size: int, *, tokenizer: str = "small", split: str | None = "train", where: str | None = None,
        **options: Any,
    ) -> "Stream":  # fmt: skip
        """An endless iterator over batches of tokens, cameras and captions.

        Args:
            batch_size: samples per batch, over all ranks.
            tokenizer: whose tokens.
            split: train, val or test; None: all.
            where: SQL over `samples`; only those for which it is true.
            options: seed, state, rank, ranks … as `dataengine.Stream` takes them.

        Raises:
            UsageError: if nothing is selected.
        """
        from dataengine.manifests.catalog import Catalog
        from dataengine.training.data.index import build_index
        from dataengine.training.data.stream import Stream

        index = build_index(Catalog(self), tokenizer, split=split, where=where)
        return Stream(index, batch_size=batch_size, **options)

    def webdataset(self, stage: str = "views", *, seed: int | None = None) -> "TarDataset":
        """The tars of a stage through the webdataset library, decoded: a torch `IterableDataset` with its methods.

        Args:
            stage: views/SET, tokens/NAME; `views` where there is one view set.
            seed: reads the tars in another order in each epoch; None: in the order of the shards.

        Raises:
            UsageError: if nothing of the stage is committed.
        """
        from dataengine.training.data.tar_reader import tar_dataset

        return tar_dataset(self, self.config.view_set().stage if stage == "views" else stage, seed=seed)

    def caption(self, files: Sequence[str]) -> "Recaptioned":
        """Gives assets other captions, from files or from `captions/NAME`, a stage's. Nothing is made again for it.

        Raises:
            UsageError: if a file is not there or has no captions.
        """
        from dataengine.stages.recaption import set_captions

        done = set_captions(self.url, files)
        self._read_plan_again()
        return done

    def remove(self, uids: Sequence[str], reason: str) -> "Removed":
        """Takes assets out of the corpus for good; a tombstone with the reason stays. Nobody is asked.

        Raises:
            UsageError: if an asset is not there, or was removed before.
            DataengineError: if the store cannot be read or written; call it again to go on.
        """
        from dataengine.stages.takedown import remove

        done = remove(self.url, uids, reason)
        self._read_plan_again()
        return done

    def _read_plan_again(self) -> None:
        self.config = on_disk.Corpus.open(self.url).config
        for name in ("_plan_file", "_catalog"):
            self.__dict__.pop(name, None)

    @cached_property
    def _catalog(self) -> "Catalog":
        from dataengine.manifests.catalog import Catalog

        return Catalog(self)

    def _numbers(self, shards: Sequence[int] | None) -> Sequence[int]:
        return self.shards() if shards is None else shards


def open(url: str | Path = ".") -> Corpus:
    """Opens a corpus at a folder or any fsspec URL (s3://…, gs://…).

    Raises:
        UsageError: if there is none, or another version made it.
    """
    return Corpus.open(url)


def plan(
    url: str | Path,
    sources: Sequence[str],
    *,
    captions: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    shard_size: int = 256,
    views: Sequence[str] = (),
    **render: Any,
) -> Corpus:
    """Finds models, joins their captions, and cuts them into shards; or plans a corpus again, with what is new.

    Args:
        url: of the corpus: a folder or any fsspec URL.
        sources: such as "local:models", "objaverse:lvis", "csv:FILE"; see docs/sources.md.
        captions: cap3d, or CSV or Parquet files with a header.
        where: SQL over the assets' columns; only those for which it is true.
        limit: assets at most: the first.
        sample: assets at most: drawn by a hash.
        shard_size: assets per shard.
        views: view sets, each as `plan --views` takes it: "orbit24:look=studio,resolution=512". None: one set, of
            `render`, or what the corpus has.
        render: fields of `RenderConfig`: rig, look, recipe, resolution, samples, engine, frame, seed; beside `views`,
            for every set that does not say otherwise.

    Raises:
        UsageError: for an unknown source, name or column, or settings that committed shards do not have.
    """
    from dataengine.render.settings import render_config
    from dataengine.render.view_sets import sets_of_words
    from dataengine.stages.plan import plan_corpus

    plan_corpus(
        url,
        sources=sources,
        render=render_config(**render) if render and not views else None,
        sets=sets_of_words(views, render) if views else None,
        captions=captions,
        where=where,
        limit=limit,
        sample=sample,
        shard_size=shard_size,
    )
    return Corpus.open(url)
