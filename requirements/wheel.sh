#!/bin/sh
# Builds the package that is installed as a service:  wheel.sh FOLDER
# What only builds (requirements/build.lock) goes into an environment that is removed again, not into the service's.
set -eu
cd "$(dirname "$0")/.."
folder=${1:?the folder that the wheel is put into}

python=
for name in "${PYTHON:-}" python3.11 python3 python3.12 python3.13; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "$python" ] || { echo "Python 3.11 or newer is missing: sudo apt install python3.11 python3.11-venv" >&2; exit 2; }

building=$(mktemp -d)
trap 'rm -rf "$building"' EXIT
"$python" -m venv "$building"
"$building/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/build.lock
"$building/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" .
ls "$folder"/kiva_relay-*.whl
