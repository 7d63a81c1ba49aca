"""What cannot work is said in one line, before anything is started."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.cluster.nodes import Node
from dataengine.cluster.options import RunOptions, TrainOptions, render_stage
from dataengine.cluster.train import shares
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import Store
from dataengine.training.config import TrainConfig
from tests.cluster.tokenizer import write_weights
from tests.token_corpus import make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "c", assets=2, shard_size=2).url


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stages", "render,polish"), "unknown stage 'polish'; one of fetch, render, tokenize, train"),
        (("--stages", ""), "unknown stage ''"),
        (("--tokenizer", "large"), "unknown tokenizer 'large'; there are small, "),
        (("--weights", "nowhere.safetensors"), "nowhere.safetensors is not a file"),
        (
            ("--stages", "train", "--train", "steps"),
            "--train 'steps' is not KEY=VALUE with a key of accept_captions, batch",
        ),
        (("--stages", "train", "--train", "stepps=3"), "--train 'stepps=3' is not KEY=VALUE with a key of "),
        (("--stages", "train", "--train", "steps=many"), "--train steps=many: 'many' is not a valid integer range"),
        (("--stages", "train", "--train", "stage=last"), "--train stage=last: 'last' is not one of 'pretrain', "),
        (("--stages", "train", "--train", "steps=0"), "--train steps=0: 0 is not in the range x>=1"),
        (("--stages", "train", "--train", "corpus=x"), "--train 'corpus=x' is not KEY=VALUE with a key of "),
        (("--stages", "render", "--train", "steps=3"), "--train and --ranks go with the stage train"),
        (("--sandbox", "strong"), "'strong' is not one of 'auto', 'bwrap', 'kernel', 'landlock'"),
        (("--render-cpus", "0"), "0 is not in the range x>=1"),
        (("--address", "nonsense://"), "'nonsense://' is not auto, local, HOST:PORT or ray://HOST:PORT"),
        (("--address", "ray://127.0.0.1:1"), "no Ray cluster at ray://127.0.0.1:1: "),
    ],
)
def test_a_run_that_cannot_work_says_why(words: tuple[str, ...], said: str, corpus: str) -> None:
    result = CliRunner().invoke(build(), ["run", corpus, *words])
    assert result.exit_code == 2
    assert said in result.output
    assert len([line for line in result.output.splitlines() if line.startswith(("error", "Error"))]) == 1


def test_a_runs_sandbox_is_that_of_its_render_tasks(corpus: str) -> None:
    stage = render_stage(RunOptions(sandbox="landlock"), Corpus.open(corpus))
    assert stage.sandbox == "landlock"


def test_no_corpus_and_views_that_no_tokenizer_takes(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["run", str(tmp_path)])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "is not a corpus (no corpus.yaml); make one with `dataengine plan`" in result.output
    odd = make_corpus(tmp_path / "odd", assets=2, shard_size=2)
    text = (tmp_path / "odd/corpus.yaml").read_text()
    odd.store.put("corpus.yaml", text.replace("resolution: 32", "resolution: 255").encode())
    weights = write_weights(tmp_path / "tiny.safetensors")
    result = CliRunner().invoke(build(), ["run", odd.url, "--weights", str(weights)])
    assert result.exit_code == 2
    assert "small needs images whose sides are multiples of " in result.output


def test_checkpoints_are_not_remote() -> None:
    config = CorpusConfig(sources=(SourceConfig(spec="local:models"),))
    Store("memory://corpus").put("corpus.yaml", config.to_yaml().encode())
    result = CliRunner().invoke(build(), ["run", "memory://corpus", "--stages", "train"])
    assert result.exit_code == 2
    assert "add --train run=FOLDER, one that all nodes see" in result.output


def test_ranks_get_what_the_cluster_has() -> None:
    config = TrainConfig(run=Path("run"), corpus="corpus", stage="i2mv", batch=12)
    cpu, gpu = Node("a", 8.0, 0.0, 1.0), Node("b", 16.0, 8.0, 1.0)
    assert shares([cpu, cpu], TrainOptions(config)) == (1, {"CPU": 8.0})
    assert shares([cpu, cpu], TrainOptions(config, ranks=4)) == (4, {"CPU": 4.0})
    assert shares([gpu, cpu], TrainOptions(config)) == (6, {"CPU": 2.0, "GPU": 1.0})  # 8 cannot share 12
    on_cpus = config.model_copy(update={"device": "cpu"})
    assert shares([gpu], TrainOptions(on_cpus, ranks=3)) == (3, {"CPU": 5.0})
