#!/usr/bin/env bash
# Builds .venv at the repository's root from pinned versions. `scripts/setup.sh dev` adds what the tests and linters need.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: AudioZEN needs Python 3.11 or newer; set PYTHON=/path/to/one" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "==> making .venv with $("$PYTHON" --version)"
    if ! "$PYTHON" -m venv --clear .venv; then
        echo "error: $PYTHON cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
fi

# PyTorch first and by its exact version: a build that lies on the machine is then taken before a larger one.
torch=$(grep '^torch==' constraints.txt)
if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '${torch#torch==}')" 2>/dev/null; then
    echo "==> installing PyTorch (${torch#torch==})"
    pip install --quiet --constraint constraints.txt "$torch"
fi

extras=metrics,recipes,export,sweep
if [ "${1:-}" = dev ]; then extras=$extras,test,lint,docs; fi
echo "==> installing AudioZEN [$extras]"
pip install --quiet --constraint constraints.txt --editable ".[$extras]"

if [ "${1:-}" = dev ] && ! command -v chromium chromium-browser google-chrome >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "==> installing Chromium, in which the tests open the report"
        if ! { apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes chromium; } >/dev/null 2>&1; then
            echo "==> Chromium could not be installed: the tests of the page in a browser are skipped" >&2
        fi
    else
        echo "==> no Chromium found: the tests of the page in a browser are skipped (on Debian: apt-get install chromium)" >&2
    fi
fi

if ! .venv/bin/python -c 'import pesq' 2>/dev/null; then
    if command -v "${CC:-cc}" >/dev/null; then
        echo "==> compiling PESQ"
        log=$(mktemp)
        if ! pip install --quiet --constraint constraints.txt --editable ".[pesq]" 2>"$log"; then
            tail -n 5 "$log" >&2
            echo "==> PESQ could not be compiled and is left out: its column will say not_installed" >&2
        fi
        rm -f "$log"
    else
        echo "==> no C compiler found: PESQ is left out, its column will say not_installed" >&2
    fi
fi
