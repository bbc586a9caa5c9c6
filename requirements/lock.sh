#!/bin/sh
# Writes the two lock files anew from pyproject.toml: hashes, no index named. Needs uv.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q"
$compile pyproject.toml --extra demo --group build -o requirements/demo.lock "$@"
$compile pyproject.toml --extra demo --group dev -c requirements/demo.lock -o requirements/dev.lock "$@"
