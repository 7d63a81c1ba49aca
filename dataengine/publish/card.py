"""README.md of a published dataset: the Hub's metadata, then what a person wants to know before using it."""

from collections import Counter
from importlib.resources import files
from typing import Any

import yaml

from dataengine.publish.facts import Facts
from dataengine.publish.licences import hub_licence
from dataengine.publish.table import column_of
from dataengine.sources.attribution import plain
from dataengine.sources.licences import is_non_commercial

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

MEANING = {
    "rgba": "one PNG per view: RGBA, 8 bits, sRGB, straight alpha",
    "depth": "one PNG per view, 16 bits: planar z = near + (value - 1) / 65534 × (far - near), 0 = none",
    "normal": "one PNG per view: surface normals in world space",
    "albedo": "one PNG per view: base colour, sRGB",
    "orm": "one PNG per view: green is roughness, blue metallic",
    "id": "one PNG per view: index of the part, 0 = background",
}
WORDS = {"rgba": "colour", "orm": "roughness and metallic", "id": "part ids", "normal": "normals"}


def card(facts: Facts, contact: str) -> str:
    """The whole file.

    Args:
        facts: of what was published.
        contact: where to ask that an object be taken out; empty: the dataset's discussions.
    """
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    jinja.filters["plain"] = plain
    template = jinja.from_string(files("dataengine.publish").joinpath("card.md.jinja").read_text(encoding="utf-8"))
    body = template.render(
        facts=facts,
        contact=contact,
        splits=", ".join(f"{count:,} {split}" for split, count in facts.splits.items()),
        first_split=next(iter(facts.splits)),
        channels=_listed(["cameras", *(WORDS.get(channel, channel) for channel in facts.channels)]),
        columns=[(column_of(channel), MEANING.get(channel, "one PNG per view")) for channel in facts.channels],
        licences=_licences(facts.licences),
        table=_table,
    )
    head = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n{body}"


def _metadata(facts: Facts) -> dict[str, Any]:
    configs: list[dict[str, Any]] = [
        {"config_name": facts.view_set, "default": True, "data_files": _files(f"data/{facts.view_set}", facts.splits)}
    ]
    for name, about in facts.tokens.items():
        configs.append({"config_name": f"tokens-{name}", "data_files": _files(f"tokens/{name}", about["splits"])})
    return {
        "pretty_name": facts.name.rsplit("/", 1)[-1],
        **hub_licence(facts.licences),
        "task_categories": ["image-to-3d", "text-to-3d"],
        "tags": ["3d", "multi-view", "depth", "cameras", "rendered", "dataengine"],
        "size_categories": [next((name for most, name in SIZES if facts.rows < most), "1M<n<10M")],
        "configs": configs,
    }


def _files(folder: str, splits: dict[str, int]) -> list[dict[str, str]]:
    return [{"split": split, "path": f"{folder}/{split}-*.parquet"} for split in splits]


def _licences(counts: Counter[str | None]) -> Counter[str]:
    named = Counter[str]()
    for licence, count in counts.items():
        name = "unknown" if licence is None else licence
        named[f"{name} (no commercial use)" if is_non_commercial(licence) else name] += count
    return named


def _table(label: str, counts: Counter[str]) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {label} | models |", "|---|---|", *(f"| {plain(name)} | {count:,} |" for name, count in rows)]
    return "".join(f"{line}\n" for line in lines)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
