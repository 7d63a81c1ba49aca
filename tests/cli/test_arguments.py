"""Shard lists and the optional CORPUS."""

import click
import pytest

from dataengine.cli.arguments import parse_shards, split_words
from dataengine.errors import UsageError

KNOWN = list(range(13))


@pytest.mark.parametrize(
    ("text", "shards"), [("0", [0]), ("3,9-12", [3, 9, 10, 11, 12]), ("all", KNOWN), ("2-3,3, 1", [1, 2, 3])]
)
def test_shard_lists(text: str, shards: list[int]) -> None:
    assert parse_shards(text, KNOWN) == shards


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "is not a number"),
        ("-3", "is not a number"),
        ("", "is not a number"),
        ("9-3", "counts backwards"),
    ],
)
def test_bad_shard_lists_say_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_shards(text, KNOWN)


def test_a_job_array_may_be_longer_than_the_plan(caplog: pytest.LogCaptureFixture) -> None:
    assert parse_shards("17", KNOWN) == []
    assert caplog.messages == ["no shard 17: the plan has shards 0 to 12"]
    assert parse_shards("11-99999999999", KNOWN) == [11, 12]
    assert parse_shards("0-2", [0, 2]) == [0, 2]
    assert caplog.messages[-1] == "no shard 1: the plan has shards 0 to 2"


def test_no_shards_at_all() -> None:
    assert parse_shards("all", []) == []
    with pytest.raises(UsageError, match="no shards"):
        parse_shards("0", [])


def test_corpus_may_be_left_out() -> None:
    assert split_words(("uid",), "UID") == (".", "uid")
    assert split_words(("corpus", "uid"), "UID") == ("corpus", "uid")
    with pytest.raises(click.UsageError, match="too many"):
        split_words(("a", "b", "c"), "UID")
