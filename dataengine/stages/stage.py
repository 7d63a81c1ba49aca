"""A stage of the pipeline: what is made of each asset.

A stage makes one tar and one fragment per shard, from the plan or from another stage's fragment. open_shard.py tells
what it has still to do of a shard, run.py is the loop that does it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure

Row = Mapping[str, Any]
Say = Callable[[str], None]


class Restart(Exception):
    """Raised by `process` when its stage has changed its `resume_key`: the open shards are begun again."""


class Stage(ABC):
    """What is made of each asset. Light and picklable until it is started, so that Ray can send it to its workers.

    Attributes:
        name: KIND/NAME, such as `tokens/small`: its folder in the corpus; KIND is a view in SQL.
        schema: the columns that `process` returns; those that every fragment has are added, see schema.result_schema.
        made_from: the stage whose rows it takes; `views`: that of the corpus's only view set; None: the plan's.
        workers: how many threads may be in `process` at a time.
        say: told in one line what a person should know of a start, such as which protections are in force.
        keeps_gpu: whether, on Ray, a worker keeps a share of a GPU for it from shard to shard, where there are GPUs.
    """

    name: str
    schema: ClassVar[pa.Schema]
    made_from: str | None = None
    keeps_gpu: ClassVar[bool] = False
    workers: int = 1
    say: Say = staticmethod(lambda line: None)

    @property
    def parts(self) -> Sequence["Stage"]:
        """What is made together of one row, each part with a folder of its own: most stages are their only part."""
        return (self,)

    @property
    def spec(self) -> str | None:
        """Hash of what decides the results besides the input; None where the input says it all."""
        return None

    @property
    def resume_key(self) -> Any:
        """What else must be the same (JSON) for results of a killed run to be used."""
        return None

    def input(self, corpus: Corpus, shard_input: str) -> str:
        """What a fragment made from the plan names: the hash of the shard's assets, and of what else it depends on."""
        return shard_input

    def start(self, corpus: Corpus) -> None:  # noqa: B027 - most stages hold nothing
        """Takes what `process` needs: Blenders, a network on its device."""

    def stop(self) -> None:  # noqa: B027
        """Lets go of it, at once: calls of `process` that are under way fail."""

    def settings(self, shard: int) -> Mapping[str, Any]:
        """What the fragment's metadata says of how the shard was made."""
        return {}

    @abstractmethod
    def process(self, row: Row) -> Result:
        """One asset: its columns, and its members for the tar.

        Args:
            row: of the plan, or of the fragment of `made_from`.

        Raises:
            AssetFailure: if nothing can be made of it: becomes its row.
            DataengineError: if the run cannot go on.
        """

    def process_parts(self, row: Row, parts: Sequence["Stage"]) -> "Iterator[tuple[Stage, Result | AssetFailure]]":
        """Each of some parts, and what it made of one asset. Raises as `process`, but for AssetFailure."""
        for part in parts:
            try:
                yield part, part.process(row)
            except AssetFailure as failure:
                yield part, failure


def input_stage(corpus: Corpus, stage: Stage) -> str | None:
    """The stage that a stage takes its rows from, by the name that it has in this corpus; None: the plan."""
    return corpus.config.view_set().stage if stage.made_from == "views" else stage.made_from
