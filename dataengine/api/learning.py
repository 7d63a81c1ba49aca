"""Training on a corpus, sampling from a run, evaluating it. torch is imported by the function that needs it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from dataengine.api.corpus import Corpus
from dataengine.corpus import corpus as on_disk
from dataengine.corpus.config import first_problem
from dataengine.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from dataengine.training.step_log import OnStep
    from dataengine.training.tasks.requirements import Task
    from dataengine.training.trainer import TrainResult


def train(
    run: str | Path,
    corpus: "str | Path | on_disk.Corpus",
    stage: str,
    *,
    weights: str | None = None,
    on_step: "OnStep" = lambda step: None,
    **settings: Any,
) -> "TrainResult":
    """Trains one stage on a corpus's tokens, or goes on with it.

    Args:
        run: local folder for checkpoints, metrics and sheets.
        corpus: with tokens.
        stage: pretrain, i2mv, t2mv or complete; each begins where the stage before ended.
        weights: the tokenizer's, for sample sheets; None: those that made the corpus's tokens, if they ship.
        on_step: called with each step's number, `step`, and its figures.
        settings: the other fields of `training.config.TrainConfig`, which `dataengine train --help` lists.

    Raises:
        UsageError: if the settings are wrong, or the corpus or the run does not fit them.
        DataengineError: if a shard has changed, or the loss is not finite. The last good checkpoint stays.
    """
    from dataengine.training.config import TrainConfig
    from dataengine.training.tokens_spec import codec_of
    from dataengine.training.trainer import train as train_stage

    url = corpus.url if isinstance(corpus, on_disk.Corpus) else str(corpus)
    config = _checked(TrainConfig, run=Path(run), corpus=url, stage=stage, **settings)
    codec: Any = None
    if config.sheet_every:
        codec = codec_of(Corpus.open(url), config.tokenizer, weights, config.device)
    return train_stage(config, codec, on_step)


def sample(
    run: str | Path,
    out: str | Path = "sample",
    *,
    task: "Task | None" = None,
    image: str | Path | None = None,
    prompt: str = "",
    views: int = 4,
    last: str | Path | None = None,
    turn: float = 90.0,
    depth: str | Path | None = None,
    cameras: str | Path | None = None,
    corpus: str | None = None,
    uid: str | None = None,
    view_set: str | None = None,
    estimated: bool = False,
    reconstruct_every: int | None = None,
    reconstruct_weight: float | None = None,
    reconstructor: str | None = None,
    decoder: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    weights: str | None = None,
    **sampling: Any,
) -> list[str]:
    """Draws views of an object, and writes them with their cameras.

    Args:
        run: folder of a trained run, or nano or slim: models that ship.
        out: folder for sheet.png, view_00.png …, and cameras.json.
        task: i2mv, t2mv, interpolate, novel-view or edit; None: i2mv with an image, else t2mv.
        image: what view 0 shows; edit: the object's view 0, edited.
        prompt: what the object is.
        views: how many, given ones included; i2mv, t2mv: evenly spaced on the run's cameras.
        last: interpolate: what the last view shows.
        turn: interpolate: degrees from the first view to the last one.
        depth: novel-view: the image's, 16-bit PNG or .npy; None: it is estimated.
        cameras: novel-view: a cameras.json, the image's camera first.
        corpus: novel-view, edit: where the object and its depth are.
        uid: novel-view, edit: which object; its uid, whole or shortened.
        view_set: novel-view, edit: of which views of it; None: the corpus's only ones.
        estimated: novel-view: the depth is an estimate, see docs/training.md.
        reconstruct_every: i2mv, t2mv: steps after which the views are reconstructed in 3D, so that they agree; None:
            they are not.
        reconstruct_weight: what a reconstruction counts, see docs/reconstruction.md; None: 8.
        reconstructor: its weights, also for interpolate and novel-view; None: those that ship.
        decoder: a file of `decoder fit`, or `small`; decodes the views together. None: one by one.
        seed: of the draws.
        device: auto, cpu, cuda.
        weights: the tokenizer's; None: those that the run learned from, if they ship.
        sampling: fields of `training.config.Sampling`: steps, method, temperature … What is not given is as suits the
            run, if it says that, as slim does; else as usual.

    Returns:
        Lines for a person: what was done to the image, what was written.

    Raises:
        UsageError: if there is neither image nor prompt nor task, or the run cannot do what is asked.
    """
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.checkpoints import newest_stage, read_state
    from dataengine.training.components import decoder_for, reconstruct_for, tokenizer_for
    from dataengine.training.config import sampling_of, sampling_said
    from dataengine.training.reconstruct.weights import load_reconstructor
    from dataengine.training.tasks.draw import Request, draw
    from dataengine.training.tasks.requirements import STAGES_OF, TASKS

    if task is None and image is None and not prompt:
        raise UsageError("give --image, --prompt or both, or a --task")
    chosen = task or ("t2mv" if image is None else "i2mv")
    if chosen not in TASKS:
        raise UsageError(f"no task {chosen!r} (choose from {', '.join(TASKS)})")
    path = {name: None if p is None else Path(p) for name, p in (("image", image), ("last", last), ("depth", depth))}
    request = Request(
        chosen,
        **path,
        cameras=None if cameras is None else Path(cameras),
        prompt=prompt,
        views=views,
        turn=turn,
        corpus=corpus,
        uid=uid,
        view_set=view_set,
        estimated=estimated,
    )
    state = read_state(newest_stage(Path(run), STAGES_OF[chosen]))
    codec = tokenizer_for(state.tokenizer, weights, device)
    on = str(pick_device(device))
    geometry = chosen == "interpolate" or (chosen == "novel-view" and depth is None and corpus is None)
    plain = geometry and reconstruct_every is None
    return sampling_said(Path(run), state.sampling, chosen, sampling) + draw(
        Path(run),
        Path(out),
        codec,
        request,
        sampling=_checked(sampling_of, by_task=state.sampling, task=chosen, **sampling),
        seed=seed,
        device=on,
        reconstruct=None if plain else reconstruct_for(reconstruct_every, reconstruct_weight, reconstructor, on),
        reconstructor=load_reconstructor(reconstructor, on) if geometry else None,
        decoder=decoder_for(None if decoder is None else Path(decoder), codec, state.tokenizer),
    )


def evaluate(
    run: str | Path,
    corpus: "str | Path | on_disk.Corpus",
    *,
    stage: str | None = None,
    task: Literal["i2mv", "t2mv"] | None = None,
    split: str | None = "test",
    where: str | None = None,
    limit: int | None = 64,
    seed: int = 0,
    device: str = "auto",
    weights: str | None = None,
    tokenizer: str | None = None,
    resolution: int | None = None,
    reconstruct_every: int | None = None,
    reconstruct_weight: float | None = None,
    reconstructor: str | None = None,
    decoder: str | Path | None = None,
    **sampling: Any,
) -> "pa.Table":
    """Evaluates a run on held-out objects, beside the copied reference, the training mean and the tokenizer.

    Args:
        run: folder of a trained run, or nano or slim: models that ship.
        corpus: rendered and tokenized.
        stage: i2mv, t2mv or complete; None: the run's last.
        task: views from the first one, or from the caption; None: the stage's, i2mv for complete.
        split: of the corpus; None: all.
        where: SQL over `samples`; only those for which it is true.
        limit: objects at most; None: all.
        seed: of the draws.
        device: auto, cpu, cuda.
        weights: the tokenizer's; None: those that the run learned from, if they ship.
        tokenizer: name of the corpus's tokens; None: those that fit the run.
        resolution: pixels a side that all views are scaled down to before they are measured; None: the run's own.
        reconstruct_every: as in `sample`.
        reconstruct_weight: as in `sample`.
        reconstructor: as in `sample`.
        decoder: as in `sample`.
        sampling: as in `sample`.

    Returns:
        One row per object and method, see `training.evaluation.evaluate.SCHEMA`.

    Raises:
        UsageError: if nothing is selected, or the run is of another tokenizer or stage.
    """
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.components import decoder_for, reconstruct_for, tokenizer_for
    from dataengine.training.config import STAGES, sampling_of
    from dataengine.training.evaluation.evaluate import evaluate as measure
    from dataengine.training.evaluation.evaluate import task_of
    from dataengine.training.sample import load_run
    from dataengine.training.tokens_spec import tokens_for

    stages: Any = STAGES[::-1] if stage is None else (stage,)
    on = str(pick_device(device))
    trained = load_run(Path(run), stages, on)
    state = trained.state
    codec = tokenizer_for(state.tokenizer, weights, device)
    opened = corpus if isinstance(corpus, on_disk.Corpus) else Corpus.open(corpus)
    return measure(
        trained,
        opened,
        codec,
        tokenizer=tokens_for(opened, state, tokenizer),
        task=task,
        split=split,
        where=where,
        limit=limit,
        sampling=_checked(sampling_of, by_task=state.sampling, task=task_of(trained, task), **sampling),
        seed=seed,
        train=opened,
        resolution=resolution,
        reconstruct=reconstruct_for(reconstruct_every, reconstruct_weight, reconstructor, on),
        decoder=decoder_for(None if decoder is None else Path(decoder), codec, state.tokenizer),
    )


def _checked(settings: Any, **given: Any) -> Any:
    try:
        return settings(**given)
    except ValidationError as e:
        raise UsageError(first_problem(e)) from e
