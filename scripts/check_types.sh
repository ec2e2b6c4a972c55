#!/usr/bin/env bash
# Types on each platform, at the same time: mypy leaves out what stands below sys.platform == "..." of another one.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p .mypy_cache
for platform in win32 darwin; do
    .venv/bin/mypy --platform $platform --cache-dir .mypy_cache/$platform >.mypy_cache/$platform.log 2>&1 &
    others[$!]=$platform
done
.venv/bin/mypy
status=$?
for process in "${!others[@]}"; do
    if ! wait "$process"; then
        echo "mypy --platform ${others[$process]}:" && cat ".mypy_cache/${others[$process]}.log"
        status=1
    fi
done
exit $status
