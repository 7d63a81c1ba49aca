"""What happens to files: bits flip, ends are cut off, pieces are doubled, swapped, or become what readers dislike."""

import random
import re

LIKED = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
WORDS = (
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999",
    b"NaN",
    b"1.5",
    b'""',
    b"9223372036854775808",
    b"../../../etc/passwd",
    b"http://127.0.0.1/x",
    b"\xff\xfe",
    b"\x1b]0;x\x07",
    b"\0",
)


def mutate(data: bytes, dice: random.Random) -> bytes:
    """One to four changes of a file."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice(CHANGES)(data, dice)
    return data


def flip(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def number(data: bytes, dice: random.Random) -> bytes:
    """An integer of a size that readers of lengths and counts dislike."""
    width = dice.choice((1, 2, 4, 8))
    value = dice.choice(LIKED) & ((1 << 8 * width) - 1)
    at = dice.randrange(len(data) + 1)
    return data[:at] + value.to_bytes(width, dice.choice(("little", "big"))) + data[at + width :]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def drop(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    return data[:start] + data[start + dice.choice((1, 4, 16, 256)) :]


def double(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    piece = data[start : start + dice.choice((1, 8, 64, 512))]
    return data[:start] + piece * dice.choice((2, 3, 100)) + data[start + len(piece) :]


def swap(data: bytes, dice: random.Random) -> bytes:
    a, b = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    size = dice.choice((1, 4, 32))
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def word(data: bytes, dice: random.Random) -> bytes:
    """In texts, a value for another of a type that nobody expects."""
    values = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"\n]{0,60}"|\btrue\b|\bfalse\b', data[: 1 << 16]))
    if not values:
        return number(data, dice)
    found = dice.choice(values)
    return data[: found.start()] + dice.choice(WORDS) + data[found.end() :]


CHANGES = (flip, flip, number, cut, drop, double, swap, word, word)
