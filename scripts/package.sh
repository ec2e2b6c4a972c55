#!/usr/bin/env bash
# Builds what is published into dist/, and tries the wheel where nothing else is installed: in a new environment, build/clean.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

rm -rf dist build/clean
.venv/bin/python scripts/build_package.py dist

echo "==> making build/clean with $("$PYTHON" --version)"
"$PYTHON" -m venv build/clean
pip() { build/clean/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
# PyTorch first and by its exact version, as in scripts/setup.sh.
pip install --quiet --constraint constraints.txt "$(grep '^torch==' constraints.txt)"
pip install --quiet --constraint constraints.txt dist/*.whl
pip check

build/clean/bin/python scripts/smoke_test.py
