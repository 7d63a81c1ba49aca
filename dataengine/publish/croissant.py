"""croissant.json: the dataset for machines, MLCommons Croissant 1.0, as `mlcroissant` validates it."""

import hashlib
from pathlib import Path
from typing import Any

from dataengine.publish.card import MEANING
from dataengine.publish.facts import Facts
from dataengine.publish.table import PER_VIEW, TEXT, column_of
from dataengine.sources.attribution import licence_url

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
FILES = "parquet-files"
UNITS = {
    "near": "units of the normalised object",
    "far": "units of the normalised object",
    "azimuth": "degrees, 0 on +x, counter-clockwise seen from +z",
    "elevation": "degrees above the horizon",
}


def croissant(facts: Facts, folder: Path) -> dict[str, Any]:
    """The JSON-LD of a published folder, whose Parquet files are there already."""
    distribution: list[dict[str, Any]] = [_object(folder, path) for path in sorted(folder.glob("**/*.parquet"))]
    distribution.append(
        {
            "@type": "cr:FileSet",
            "@id": FILES,
            "name": FILES,
            "encodingFormat": "application/x-parquet",
            "includes": f"data/{facts.view_set}/*.parquet",
        }
    )
    fields = [_field(facts, name, "sc:Text", "text") for name in TEXT]
    for channel in facts.channels:
        about = MEANING.get(channel, "one PNG per view")
        fields.append(_field(facts, column_of(channel), "sc:ImageObject", about, repeated=True))
    fields += [_field(facts, name, "sc:Float", UNITS[name], repeated=True) for name in PER_VIEW]
    licences = sorted({licence_url(name) or name for name in facts.licences if name})
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name.rsplit("/", 1)[-1],
        "description": f"{facts.rows} 3D models, {facts.views} views each of {facts.resolution} pixels: rig "
        f"{facts.rig}, look {facts.look}. The licence of each model is in its row.",
        "license": licences or ["unknown"],
        "url": f"https://huggingface.co/datasets/{facts.name}",
        "version": "1.0.0",
        "prov:wasDerivedFrom": sorted(facts.sources),
        "distribution": distribution,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": facts.view_set,
                "name": facts.view_set,
                "description": f"rig {facts.rig}, look {facts.look}; world z up, cameras with OpenCV axes",
                "field": fields,
            }
        ],
    }


def _object(folder: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _field(facts: Facts, column: str, kind: str, description: str, *, repeated: bool = False) -> dict[str, Any]:
    source = {"fileSet": {"@id": FILES}, "extract": {"column": column}}
    return {
        "@type": "cr:Field",
        "@id": f"{facts.view_set}/{column}",
        "name": column,
        "description": description,
        "dataType": kind,
        **({"repeated": True} if repeated else {}),
        "source": source,
    }
