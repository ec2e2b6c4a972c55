#!/usr/bin/env bash
# Builds build/bench-venv, in which AudioZEN is beside those it is compared with, and runs the benchmarks there.
# Arguments go to benchmarks/run.py, such as --quick or --only calls_per_step.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
VENV=build/bench-venv
INPUTS="scripts/bench.sh constraints.txt pyproject.toml benchmarks/peers/requirements.txt"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@" --constraint constraints.txt; }

if [ "$(cat $INPUTS | sha256sum)" != "$(cat $VENV/.inputs 2>/dev/null)" ]; then
    echo "==> making $VENV"
    "$PYTHON" -m venv "$VENV"
    # PyTorch first and by its exact version, as in scripts/setup.sh: what comes after it must not choose another.
    pip install "$(grep '^torch==' constraints.txt)"
    pip install --editable ".[metrics,sweep]" --requirement benchmarks/peers/requirements.txt
    pip install --no-deps speechbrain==1.1.2
    if ! "$VENV/bin/python" -c 'import pesq' 2>/dev/null; then
        pip install --editable ".[pesq]" 2>/dev/null || echo "==> PESQ could not be compiled and is left out" >&2
    fi
    cat $INPUTS | sha256sum >"$VENV/.inputs"
fi
exec "$VENV/bin/python" benchmarks/run.py "$@"
