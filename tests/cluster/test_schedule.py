"""The schedule alone: whatever happens to the tasks, every shard ends committed or set aside."""

import random

from hypothesis import given
from hypothesis import strategies as st

from dataengine.cluster.schedule import LOSSES, Schedule

ROOM = {"render": 3, "tokens": 2}


def test_stages_overlap_and_what_is_begun_is_finished_first() -> None:
    schedule = Schedule({"render": [0, 1, 2], "tokens": [0, 1, 2, 7]}, retries=0)
    assert schedule.next(ROOM) == ("tokens", 7)  # its views are there already
    assert [schedule.next(ROOM) for _ in range(4)] == [("render", 0), ("render", 1), ("render", 2), None]
    schedule.done("render", 1)
    assert schedule.next(ROOM) == ("tokens", 1)
    assert schedule.stages["tokens"].waiting == 2
    schedule.done("render", 0)
    assert schedule.next(ROOM) is None  # two are in flight
    schedule.done("tokens", 7)
    assert schedule.next(ROOM) == ("tokens", 0)


def test_a_failing_shard_lets_others_go_first_and_is_set_aside_with_its_reason() -> None:
    schedule = Schedule({"render": [0, 1], "tokens": [0]}, retries=1)
    room = {"render": 1, "tokens": 1}
    assert schedule.next(room) == ("render", 0)
    assert schedule.failed("render", 0, "the disk is full")
    assert schedule.next(room) == ("render", 1)
    schedule.done("render", 1)
    assert schedule.next(room) == ("render", 0)
    assert not schedule.failed("render", 0, "the disk is full")
    assert schedule.stages["render"].aside == {0: "the disk is full"}
    assert schedule.stages["tokens"].aside == {0: "its render failed"}
    assert not schedule.active


def test_lost_nodes_do_not_count_but_not_for_ever() -> None:
    schedule = Schedule({"render": [0]}, retries=0)
    for _ in range(LOSSES):
        schedule.next({"render": 1})
        assert schedule.failed("render", 0, "its node went away", lost=True)
    schedule.next({"render": 1})
    assert not schedule.failed("render", 0, "its node went away", lost=True)


@given(
    st.sets(st.integers(0, 12)),
    st.sets(st.integers(0, 12)),
    st.integers(0, 2),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_every_shard_ends_committed_or_set_aside(
    render: set[int], tokens: set[int], retries: int, room: int, seed: int
) -> None:
    chance = random.Random(seed)
    todo = {"render": sorted(render), "tokens": sorted(tokens)}
    schedule = Schedule(todo, retries)
    flying: list[tuple[str, int]] = []
    tokens_begun: list[int] = []
    while schedule.active:
        while (item := schedule.next({"render": room, "tokens": room})) is not None:
            assert item not in flying
            if item[0] == "tokens":
                tokens_begun.append(item[1])
                assert item[1] not in render or item[1] in schedule.stages["render"].done
            flying.append(item)
        stage, shard = flying.pop(chance.randrange(len(flying)))
        match chance.choice(["done", "failed", "lost"]):
            case "done":
                schedule.done(stage, shard)
            case "failed":
                schedule.failed(stage, shard, "bad")
            case _:
                schedule.failed(stage, shard, "gone", lost=True)
    for name, shards in todo.items():
        queue = schedule.stages[name]
        assert queue.done | queue.aside.keys() == set(shards)
        assert not queue.done & queue.aside.keys()
        assert (queue.waiting, queue.left) == (0, 0)
