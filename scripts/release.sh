#!/usr/bin/env bash
# Makes a release here: `scripts/release.sh 0.2.0` writes the version and the changelog, tests everything, builds and tries the
# package, commits and tags. It sends nothing anywhere, and says what is left to do.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${1:-}
PYTHON=.venv/bin/python

if [ -z "$VERSION" ]; then
    echo "error: which version? make release VERSION=0.2.0" >&2
    exit 2
fi
if [ -n "$(git status --porcelain)" ]; then
    echo "error: there are changes that are not committed" >&2
    exit 2
fi
if git rev-parse --quiet --verify "refs/tags/v$VERSION" >/dev/null; then
    echo "error: there is a tag v$VERSION already" >&2
    exit 2
fi

undo() { git checkout --quiet -- CHANGELOG.md audiozen/__init__.py; }
trap undo ERR
$PYTHON scripts/changelog.py "$VERSION"
make test
make package
trap - ERR

git commit --quiet --message "Version $VERSION" -- CHANGELOG.md audiozen/__init__.py
git tag --annotate "v$VERSION" --message "AudioZEN $VERSION"
echo "==> committed and tagged v$VERSION; dist/ has the wheel and the source distribution"
echo "    left to do: git push --follow-tags, and upload what is in dist/"
