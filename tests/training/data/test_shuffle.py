import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataengine.training.data.shuffle import Order, permute, uniforms


@given(n=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_bijection(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


def test_permute_is_random_enough() -> None:
    n, keys = 50, 1500
    where = np.stack([permute(np.arange(n), n, key) for key in range(keys)])
    expected = keys / n
    for x in (0, 1, 25, 49):
        counts = np.bincount(where[:, x], minlength=n)
        assert ((counts - expected) ** 2 / expected).sum() < 95  # chi-square, 49 degrees of freedom, p = 1e-4
    assert abs(np.corrcoef(where[:, 0], where[:, 1])[0, 1]) < 0.1
    neighbours = permute(np.arange(100_000), 100_000, 3)
    assert abs(np.corrcoef(neighbours[:-1], neighbours[1:])[0, 1]) < 0.015


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    window=st.one_of(st.none(), st.integers(1, 15)),
    seed=st.integers(0, 2**32),
)
def test_every_epoch_sees_each_row_once(counts: list[int], window: int | None, seed: int) -> None:
    order = Order(np.array(counts), seed, window)
    for epoch in range(3):
        rows = order.rows(epoch * order.samples, (epoch + 1) * order.samples)
        assert np.array_equal(np.sort(rows), np.arange(order.samples))


@given(start=st.integers(0, 50_000), length=st.integers(1, 300), seed=st.integers(0, 99))
def test_any_part_can_be_computed_alone(start: int, length: int, seed: int) -> None:
    counts = np.full(100, 97)
    whole = Order(counts, seed).rows(start, start + length)
    halves = Order(counts, seed)
    middle = start + length // 2
    parts = ([halves.rows(start, middle)] if middle > start else []) + [halves.rows(middle, start + length)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_epochs_and_seeds_differ_and_the_order_never_changes_between_versions() -> None:
    order = Order(np.array([3, 5, 1, 7]), 1)
    first, second = order.rows(0, 16), order.rows(16, 32)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Order(np.array([3, 5, 1, 7]), 2).rows(0, 16))
    assert first.tolist() == GOLDEN


def test_a_window_bounds_the_shards_in_use() -> None:
    counts = np.full(20, 10)
    rows = Order(counts, 5, window=4).rows(0, 200)
    for begin in range(0, 200, 40):
        assert len(set((rows[begin : begin + 40] // 10).tolist())) == 4


@given(position=st.integers(0, 10**12), width=st.integers(1, 70), seed=st.integers(0, 2**63))
def test_uniforms_do_not_depend_on_who_asks(position: int, width: int, seed: int) -> None:
    together = uniforms(seed, position, 5, width)
    assert together.shape == (5, width)
    assert ((together >= 0) & (together < 1)).all()
    assert np.array_equal(together[3], uniforms(seed, position + 3, 1, width)[0])


GOLDEN = [11, 0, 2, 4, 15, 10, 9, 6, 12, 3, 13, 1, 14, 7, 8, 5]
