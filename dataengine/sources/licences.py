"""Licences as SPDX-like ids in lower case, from the many ways that sources write them."""

import re

_NONE = {"", "-", "?", "none", "null", "nan", "unknown", "n/a", "na", "no license", "no licence", "unlicensed"}
_CC_KINDS = {"by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd"}
_WORDS = {
    "attribution": "by",
    "share alike": "sa",
    "sharealike": "sa",
    "non commercial": "nc",
    "non-commercial": "nc",
    "share-alike": "sa",
    "noncommercial": "nc",
    "no derivatives": "nd",
    "noderivatives": "nd",
    "noderivs": "nd",
}
_CC = re.compile(
    r"^(?:cc|creative commons)?[\s_-]*(by(?:[\s_-](?:nc|sa|nd))*)(?:[\s_-]*v?(\d\.\d))?(?P<us>-us)?(?![a-z0-9])"
)
_CC_URL = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z-]+)/(\d\.\d)(/us\b)?|publicdomain/(zero|mark)/\d\.\d|choose/(zero))"
)
_CC0 = re.compile(r"^(?:cc[\s_-]*0|(?:cc|creative commons)[\s-]+(?:zero|public domain dedication))(?![a-z1-9])")
_OTHERS = (
    (r"^apache([\s-]+licen[sc]e)?[\s,-]*(v(ersion)?[\s.]*)?2(\.0)?(?![\d])", "apache-2.0"),
    (r"^mit-0\b", "mit-0"),
    (r"^(the )?mit\b", "mit"),
    (r"^mpl[\s-]*2(\.0)?\b|^mozilla public licen[sc]e\D*2(\.0)?", "mpl-2.0"),
    (r"^bsd[\s-]*2", "bsd-2-clause"),
    (r"^bsd[\s-]*3", "bsd-3-clause"),
    (r"^zlib\b", "zlib"),
    (r"^(gnu )?(?P<gnu>l?gpl|agpl)[\s-]*v?(?P<v>\d(\.\d)?)", ""),
    (r"^gnu (?P<kind>general|lesser general|affero general) public licen[sc]e[\s,]*v?(ersion )?(?P<v>\d(\.\d)?)", ""),
    (r"^odc-by\b", "odc-by-1.0"),
    (r"^unlicense\b", "unlicense"),
    (r"^public domain\b", "public-domain"),
)


def normalise(text: str | None) -> str | None:
    """The licence's id: `cc-by-4.0`, `cc0-1.0`, `mit` …; None where the source does not know.

    A text that is not recognised stays as it is, in lower case: a licence is never dropped. `by` and its kin, as
    Sketchfab and Objaverse write them, are version 4.0. A remark behind the licence's name is left out.
    """
    plain = " ".join((text or "").lower().split())
    if plain in _NONE:
        return None
    if linked := linked_licence(plain):
        return linked
    if _CC0.match(plain):
        return "cc0-1.0"
    words = plain.replace(" - ", "-")
    for word, short in _WORDS.items():
        words = words.replace(word, short)
    if match := _CC.match(words):
        kind = re.sub(r"[\s_-]+", "-", match[1])
        if kind in _CC_KINDS:
            return f"cc-{kind}-{match[2] or '4.0'}{match['us'] or ''}"
    for pattern, name in _OTHERS:
        if match := re.match(pattern, plain):
            return name or _gnu(match.groupdict())
    return plain


def linked_licence(text: str) -> str | None:
    """The id of the Creative Commons licence whose address a text gives first; None: it gives none."""
    url = _CC_URL.search(text.lower())
    if url is None:
        return None
    if url[1]:
        return f"cc-{url[1]}-{url[2]}{'-us' if url[3] else ''}"
    return "public-domain" if url[4] == "mark" else "cc0-1.0"


def _gnu(words: dict[str, str]) -> str:
    kind = words.get("gnu") or {"lesser general": "lgpl", "affero general": "agpl"}.get(words["kind"], "gpl")
    return f"{kind}-{words['v'] if '.' in words['v'] else words['v'] + '.0'}"


def is_non_commercial(licence: str | None) -> bool:
    """Whether a normalised licence forbids commercial use."""
    return licence is not None and re.search(r"(^|-)nc(-|$)", licence) is not None
