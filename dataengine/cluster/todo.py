"""What a run is asked for, and what of it the manifest says is not done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dataengine.cluster.train import TrainOptions
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import spec_hash
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.guard import sql_errors

STAGES = ("fetch", "render", "tokenize", "train")


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        stages: which, in the order of STAGES.
        address: `auto` (a running cluster, else a local Ray), `local`, or ray://host:port.
        render_cpus: Blenders, and cores, of one render task.
        render_gpus: share of a GPU that a render task takes; 0 renders on the CPU.
        tokenizer: name, see `dataengine.tokenize.load`.
        weights: its file; None: the usual ones.
        train: what the train stage does; not needed without it.
        gpu_per_tokenizer: share of a GPU that a tokenizer takes and keeps; 0, or a cluster without GPUs: tokenizing is
            tasks of `render_cpus` cores.
        max_in_flight: shards of a stage that are with Ray at a time; None: twice what the cluster can hold, so that a
            node never waits for work and an autoscaler sees that more is wanted.
        retries: attempts after the first before a shard is set aside.
    """

    stages: tuple[str, ...] = ("render", "tokenize")
    address: str = "auto"
    render_cpus: int = 2
    render_gpus: float = 0.0
    tokenizer: str = "small"
    weights: str | None = None
    train: TrainOptions | None = None
    gpu_per_tokenizer: float = 1.0
    max_in_flight: int | None = None
    retries: int = 2


@dataclass(frozen=True)
class Todo:
    """What is not done yet.

    Attributes:
        shards: stage → those to make, in order.
        assets: stage → how many assets they have.
        unrendered: shards that cannot be tokenized, because they have no views and nothing here renders them.
    """

    shards: Mapping[str, list[int]] = field(default_factory=dict)
    assets: Mapping[str, int] = field(default_factory=dict)
    unrendered: int = 0


def find_todo(corpus: Corpus, options: RunOptions) -> Todo:
    """Which shards are not current. The manifest's content says so, not a listing.

    Raises:
        UsageError: if there is no such tokenizer, or the corpus's views do not fit it.
        DataengineError: if the manifest or the tokenizer's file cannot be read.
    """
    stages = options.stages
    spec = _spec(corpus, options) if "tokenize" in stages else None
    query = f"""
        SELECT s.shard, s.assets, c.shard IS NOT NULL AS rendered, t.shard IS NOT NULL AS tokenized
        FROM shard_rows s
        LEFT JOIN current_views c ON c.shard = s.shard
        LEFT JOIN fragment_rows t ON t.stage = {quote(f"tokens/{options.tokenizer}")} AND t.shard = s.shard
            AND t.input = c.fragment AND t.spec = {quote(spec or "")}
        ORDER BY s.shard
    """
    with sql_errors():
        rows = Catalog(corpus).sql(query).fetchall()
    to_render = {shard: n for shard, n, rendered, _ in rows if not rendered}
    to_tokenize = {shard: n for shard, n, _, done in rows if not done}
    # Without the render stage, tokens can be made of what is rendered already.
    without = to_render.keys() & to_tokenize.keys() if "tokenize" in stages and "render" not in stages else set()
    to_tokenize = {shard: n for shard, n in to_tokenize.items() if shard not in without}
    wanted = {"fetch": to_render, "render": to_render, "tokenize": to_tokenize}
    chosen = {s: shards for s, shards in wanted.items() if s in stages}
    return Todo({s: list(n) for s, n in chosen.items()}, {s: sum(n.values()) for s, n in chosen.items()}, len(without))


def _spec(corpus: Corpus, options: RunOptions) -> str | None:
    """Hash of what the tokens must be made with. Read here, so that a wrong name costs no rendering."""
    from dataengine.stages.tokenize import WHITE
    from dataengine.tokenize import load
    from dataengine.tokenize.model import check_size

    spec = replace(load(options.tokenizer, options.weights).spec, background=WHITE)
    check_size(spec, corpus.config.render.resolution, corpus.config.render.resolution)
    return spec_hash(spec.as_dict())
