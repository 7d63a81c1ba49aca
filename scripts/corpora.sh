#!/usr/bin/env bash
# Fetches models that anybody may have and plans a corpus of them:
#
#   scripts/corpora.sh furniture CORPUS [OPTIONS OF PLAN]      820 pieces from Debian's sweethome3d-furniture (apt-get)
#   scripts/corpora.sh controllers CORPUS [OPTIONS OF PLAN]    82 controllers from @webxr-input-profiles/assets (npm)
#   scripts/corpora.sh generated CORPUS [OPTIONS OF PLAN]      1,504 variants of the demo's models, made here
#
# The models go to $MODELS (default: models) and are kept; a second call plans again and fetches nothing.
set -euo pipefail

MODELS=${MODELS:-models}
VARIANTS=1504
DATAENGINE=${DATAENGINE:-$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/dataengine}

die() { printf 'corpora: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not here; $2"; }

# Fills $MODELS/NAME with what FUNCTION puts into an empty folder; a call that was killed leaves nothing half done.
keep() { # NAME FUNCTION
    [ -d "$MODELS/$1" ] && return
    mkdir -p "$MODELS"
    local making
    making=$(mktemp -d "$MODELS/.$1-XXXXXX")
    trap 'rm -rf "$making"' EXIT
    "$2" "$making"
    mv -T "$making" "$MODELS/$1"
    trap - EXIT
}

fetch_furniture() {
    need apt-get "on other systems take the .sh3f files from sweethome3d-furniture's source and plan sh3f:FOLDER"
    need dpkg-deb "it comes with Debian and Ubuntu"
    local said
    said=$(cd "$1" && apt-get download -q sweethome3d-furniture 2>&1) ||
        die "apt-get cannot download sweethome3d-furniture ('apt-get update' refreshes its lists): ${said##*$'\n'}"
    dpkg-deb -x "$1"/*.deb "$1/unpacked"
    mv "$1"/unpacked/usr/share/sweethome3d/furniture/*.sh3f "$1"
    rm -r "$1"/*.deb "$1/unpacked"
}

fetch_controllers() {
    need npm "it comes with Node.js: 'apt-get install npm'"
    local said
    said=$(cd "$1" && npm pack --silent @webxr-input-profiles/assets 2>&1) ||
        die "npm cannot fetch @webxr-input-profiles/assets: ${said##*$'\n'}"
    tar -xzf "$1"/*.tgz -C "$1" --strip-components=3 --wildcards 'package/dist/profiles/*.glb'
    rm "$1"/*.tgz
    # htc-vive/left.glb → a title, a caption, the licence; makers' controllers resemble each other: one group a maker
    (cd "$1" && printf '%s\n' */*.glb) | awk -F '[/.]' -v assets="$1/assets.csv" -v captions="$1/captions.csv" '
        BEGIN { print "path,title,author,licence,attribution,tags,group" >assets; print "path,caption" >captions }
        {
            device = $1; gsub("-", " ", device); split($1, maker, "-")
            kind = device ~ /hand/ ? device : device " controller"
            title = kind ($2 == "none" ? "" : ", " $2)
            caption = kind ($2 == "none" ? "" : " for the " $2 " hand")
            credit = "“" title "” of @webxr-input-profiles/assets; Copyright (c) 2019 Amazon"
            printf "%s,\"%s\",Amazon,MIT,\"%s\",controller;%s,%s\n", $0, title, credit, maker[1], maker[1] >assets
            printf "%s,%s\n", $0, caption >captions
        }'
}

make_generated() { # without the demo's own sixteen, which the demo measures with
    "$(dirname "$DATAENGINE")/python" - "$1" "$VARIANTS" <<'PYTHON'
import csv, sys
from pathlib import Path
from dataengine.demo.models import KINDS, write_models

folder = Path(sys.argv[1])
own = {path.name for path in write_models(folder, len(KINDS) + int(sys.argv[2]))[: len(KINDS)]}
for name in own:
    (folder / name).unlink()
for name in ("assets.csv", "captions.csv"):
    rows = [row for row in csv.reader((folder / name).open(newline="")) if row[0] not in own]
    with (folder / name).open("w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows(rows)
PYTHON
}

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
name=$1 corpus=$2
shift 2
case $name in
    furniture)
        keep furniture fetch_furniture
        exec "$DATAENGINE" plan "$corpus" --source "sh3f:$MODELS/furniture" "$@" ;;
    controllers)
        keep controllers fetch_controllers
        exec "$DATAENGINE" plan "$corpus" --source "local:$MODELS/controllers" \
            --captions "$MODELS/controllers/captions.csv" "$@" ;;
    generated)
        keep generated make_generated
        exec "$DATAENGINE" plan "$corpus" --source "local:$MODELS/generated" \
            --captions "$MODELS/generated/captions.csv" "$@" ;;
    *) die "no corpus is called $name; furniture, controllers and generated are" ;;
esac
