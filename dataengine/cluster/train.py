"""The trainer on Ray: ranks of `training.trainer.train` through Ray Train, begun again after a lost worker.

Ray Train brings the ranks up, and takes all of them down when one dies. Going on is the trainer's own: from its last
checkpoint under RUN, which is therefore one folder that all nodes see.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer

from dataengine.cluster import nodes
from dataengine.cluster.options import TrainOptions
from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog

if TYPE_CHECKING:
    from dataengine.training.config import TrainConfig
    from dataengine.training.trainer import TrainResult

Step = Mapping[str, float]
REPORT_SECONDS = 1.0
CPUS_PER_GPU = 2  # of a rank that has one: the loop, and the thread that reads ahead


def train(
    options: TrainOptions,
    metrics: Any,
    show: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> "TrainResult":
    """Trains one stage, or goes on with it, on the cluster that this process has joined.

    Args:
        options: see TrainOptions.
        metrics: where the ranks report their steps.
        show: called about once a second with the latest step's number and measures; nothing before the first.
        say: told in one line of each new start.

    Raises:
        UsageError, DataengineError: as `training.trainer.train` does, or when workers are lost again and again.
    """
    from dataengine.training.data.index import build_index

    corpus = Catalog(options.config.corpus)
    build_index(corpus, options.config.tokenizer, split="train", where=options.config.where)  # or says what is wrong
    for attempt in range(options.retries + 1):
        try:
            with _polling(lambda: show(ray.get(metrics.step.remote()))):
                return _fit(options, metrics)
        except TrainingFailedError as e:
            failures = list(e.worker_failures.values()) if isinstance(e, WorkerGroupError) else [e]
            for failure in failures:
                if isinstance(failure, DataengineError):
                    raise failure from None
            reason = " ".join(str(failures[0]).split())[:300]
            if attempt == options.retries:
                raise DataengineError(f"training failed {attempt + 1} times; the last time: {reason}") from e
            say(f"train: {reason}; going on from the last checkpoint")
    raise AssertionError("unreachable")


def _fit(options: TrainOptions, metrics: Any) -> "TrainResult":
    from dataengine.training.trainer import TrainResult

    config = _everywhere(options.config)
    ranks, resources = shares(nodes.alive(), options)
    settings = {"config": config.model_dump(mode="json"), "weights": options.weights, "metrics": metrics}
    done: Any = TorchTrainer(  # Ray's hints are of its older trainer, which took nothing back
        _rank,  # type: ignore[arg-type]
        train_loop_config={**settings, "cpus": int(resources["CPU"])},
        scaling_config=ScalingConfig(num_workers=ranks, use_gpu="GPU" in resources, resources_per_worker=resources),
        # Ray wants a folder that all nodes see, for what it keeps itself: a few hundred bytes.
        run_config=RunConfig(name=config.stage, storage_path=str(config.run / "ray")),
    ).fit()
    status, step, checkpoint = done.return_value
    return TrainResult(status, step, Path(checkpoint))


def _everywhere(config: "TrainConfig") -> "TrainConfig":
    """With absolute paths: the ranks are started in other folders."""
    cache = config.cache and config.cache.resolve()
    return config.model_copy(
        update={"run": config.run.resolve(), "cache": cache, "corpus": Corpus.open(config.corpus).url}
    )


def shares(there: list[nodes.Node], options: TrainOptions) -> tuple[int, dict[str, float]]:
    """(ranks, resources of each) for a cluster with these nodes."""
    config = options.config
    cpus, gpus = sum(n.cpus for n in there), int(sum(n.gpus for n in there))
    if config.device == "cpu" or not gpus:
        ranks = options.ranks or 1
        most = max((n.cpus for n in there), default=0.0)
        return ranks, {"CPU": float(max(1, int(min(most, cpus / ranks))))}
    fitting = (n for n in range(gpus, 0, -1) if config.batch % (n * (config.micro_batch or 1)) == 0)
    ranks = options.ranks or next(fitting, 1)
    return ranks, {"CPU": float(max(1, min(CPUS_PER_GPU, int(cpus // gpus)))), "GPU": 1.0}


def _rank(settings: dict[str, Any]) -> tuple[str, int, str]:
    """One rank: runs in a worker of Ray Train, which has brought up the process group."""
    import torch

    from dataengine.training.config import TrainConfig
    from dataengine.training.tokens_spec import codec_of
    from dataengine.training.trainer import train as train_stage

    torch.set_num_threads(settings["cpus"])
    config = TrainConfig.model_validate(settings["config"])
    codec: Any = None
    if config.sheet_every:
        codec = codec_of(Corpus.open(config.corpus), config.tokenizer, settings["weights"], config.device)
    result = train_stage(config, codec, on_step=lambda step: settings["metrics"].trained.remote(dict(step)))
    return result.status, result.step, str(result.checkpoint)


@contextmanager
def _polling(call: Callable[[], None]) -> Iterator[None]:
    """Calls about once a second, from a thread: `fit` comes back only at the end."""
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(REPORT_SECONDS):
            with suppress(RayError):  # the actor's node died; Ray starts it again
                call()

    thread = threading.Thread(target=poll, name="training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
