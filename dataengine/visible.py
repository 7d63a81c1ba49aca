"""Text for people: counts with their nouns, and what strangers wrote.

Of strangers' text, what would move a terminal's cursor, set its title or turn text around is shown instead.

Titles, authors, captions, file names and Blender's log may hold any character. Programs get them as they are (JSON,
Parquet, CSV); people get what no terminal acts upon.
"""

import re

# C0 but for the line break and the tabulator, DEL, C1, and the marks that change the direction of text.
_ACTED_UPON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text, with control characters as escapes: `\\x1b`, `\\u202e`."""
    return _ACTED_UPON.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def counted(n: int, noun: str) -> str:
    """`1 asset`, `2,000 assets`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
