#!/usr/bin/env bash
# Sets the checkout up: `setup.sh install` makes .venv, `setup.sh libraries` sees to the system libraries of Blender.
# Does nothing when all is as it should be, and says in one line what is missing where it can do nothing about it.
#
#   PYTHON=/path/to/python3.11   the interpreter to use
#   TORCH=torch==2.13.0+cu130    the build of torch to install (with PIP_EXTRA_INDEX_URL where pip does not know it)
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
STAMP=$VENV/.installed
# library → Debian package; what Blender's module links against and does not bring along
LIBRARIES="libX11.so.6:libx11-6 libXrender.so.1:libxrender1 libXfixes.so.3:libxfixes3 libXi.so.6:libxi6
    libxkbcommon.so.0:libxkbcommon0 libGL.so.1:libgl1 libSM.so.6:libsm6 libICE.so.6:libice6 libXext.so.6:libxext6"
FOR_EEVEE="libEGL.so.1:libegl1"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "apt-get install $*"
    export DEBIAN_FRONTEND=noninteractive
    # Package lists may be absent (containers) or old: refresh them only if it does not work without.
    apt-get install -y -q --no-install-recommends "$@" </dev/null >/dev/null 2>&1 ||
        { apt-get update -q </dev/null >/dev/null &&
            apt-get install -y -q --no-install-recommends "$@" </dev/null >/dev/null; }
}

# --- Python 3.11: the only version that this Blender is built for

works() { # an interpreter of the right version that can make environments (Debian splits that off; pyenv has shims)
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

find_python() { # PYTHON alone where it is given
    local candidate
    if [ -n "${PYTHON:-}" ]; then works "$PYTHON" && command -v "$PYTHON"; return; fi
    for candidate in python3.11 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python3.11 \
        /usr/bin/python3.11 /usr/local/bin/python3.11; do
        if command -v "$candidate" >/dev/null && works "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

apt_offers() { # the version of python3.11-venv that apt would install, if any
    LC_ALL=C apt-cache policy python3.11-venv 2>/dev/null | sed -n 's/.*Candidate: \([0-9].*\)/\1/p'
}

apt_has_python() { # a release of it, that is: Ubuntu 22.04 has a release candidate
    local version
    version=$(apt_offers)
    if [ -z "$version" ]; then
        apt-get update -q </dev/null >/dev/null 2>&1 || return 1
        version=$(apt_offers)
    fi
    [ -n "$version" ] && [ "${version#*~rc}" = "$version" ]
}

uv_python() { # prints the path of a 3.11 that uv found or fetched; uv itself comes as a package, into a folder here
    local python uv
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        python=$(command -v python3) || return 1
        if ! "$python" -m pip --version >/dev/null 2>&1; then
            is_root && apt_install python3-pip || return 1
        fi
        # --target also works where the system's Python is "externally managed"
        [ -x .uv/bin/uv ] || "$python" -m pip install -q --target .uv uv </dev/null >&2 || return 1
        uv=$PWD/.uv/bin/uv
    fi
    "$uv" python install -q 3.11 </dev/null >&2 || return 1
    "$uv" python find 3.11
}

get_python() {
    find_python && return 0
    if [ -n "${PYTHON:-}" ]; then die "PYTHON=$PYTHON is not a Python 3.11 with venv and ensurepip"; fi
    if is_root && apt_has_python && apt_install python3.11 python3.11-venv; then
        find_python && return 0
    fi
    say "no Python 3.11 here; fetching one with uv"
    uv_python && return 0
    die "Python 3.11 is needed and could not be had: install it (Debian 12: apt-get install python3.11-venv;" \
        "elsewhere: uv python install 3.11, or pyenv install 3.11) and run this again, or name it: make install PYTHON=…"
}

install_venv() {
    local wanted python
    wanted=$(cat pyproject.toml constraints.txt - <<<"${TORCH:-}" | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ] && works "$VENV/bin/python"; then return 0; fi
    rm -f "$STAMP"
    if ! works "$VENV/bin/python"; then
        python=$(get_python)
        say "making $VENV with $python"
        rm -rf "$VENV"
        "$python" -m venv "$VENV"
    fi
    say "installing the dependencies into $VENV (a few minutes, about 2 GB)"
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]' ${TORCH:+"$TORCH"} \
        </dev/null || die "pip could not install the dependencies; its message is above"
    echo "$wanted" >"$STAMP"
}

# --- the libraries that Blender links against

missing() { # the packages, of library:package pairs, whose library is not here
    local pair known
    known=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null || true)
    for pair in "$@"; do
        grep -qF "${pair%%:*} " <<<"$known" || printf '%s ' "${pair#*:}"
    done
}

install_libraries() {
    local packages
    [ "$(uname -s)" = Linux ] || return 0
    # shellcheck disable=SC2086 # the lists are words
    packages=$(missing $LIBRARIES)
    if is_root; then
        packages+=$(missing $FOR_EEVEE)
        # shellcheck disable=SC2086
        if [ -n "$packages" ] && ! apt_install $packages; then
            die "apt-get could not install the libraries that Blender needs: $packages"
        fi
    elif [ -n "$packages" ]; then
        die "Blender needs system libraries; run: sudo apt-get install -y --no-install-recommends ${packages% }"
    fi
}

case "${1:-}" in
install) install_venv ;;
libraries) install_libraries ;;
*) die "usage: scripts/setup.sh install|libraries" ;;
esac
