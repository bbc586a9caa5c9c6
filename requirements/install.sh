#!/bin/sh
# Makes .venv and installs a lock file and this package into it:  install.sh LOCK STAMP
# Says what it will download before it does, and what to type when something is missing.
set -eu
cd "$(dirname "$0")/.."
lock=$1
stamp=$2

case $lock in
    *dev.lock) size="about 85 MB, the tools of the tests included" ;;
    *) size="about 55 MB" ;;
esac

suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

missing() {
    echo "  $1 … missing"
    if command -v apt-get >/dev/null 2>&1; then
        echo "  → sudo apt install $2        then again: make $make"
    elif command -v dnf >/dev/null 2>&1; then
        echo "  → sudo dnf install $3        then again: make $make"
    else
        echo "  → install Python 3.11 or newer, with its venv module; then again: make $make"
    fi
    exit 2
}

case $stamp in
    *demo*) make=demo ;;
    *) make=test ;;
esac

python=
for name in "${PYTHON:-}" python3.11 python3 python3.12 python3.13; do
    if command -v "$name" >/dev/null 2>&1 && suits "$name"; then
        python=$name
        break
    fi
done

cat <<TEXT
This downloads $size once, into .venv here. The demo starts its own PostgreSQL and its own stand-in for Kiva,
on loopback, in a temporary folder. It does not look for, or touch, any other database. Ctrl-C ends it at any time.

TEXT

[ -n "$python" ] || missing "python 3.11" "python3.11 python3.11-venv" "python3.11"
version=$("$python" -c 'import platform; print(platform.python_version())')
echo "  python $version … ok"
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing venv "python${version%.*}-venv" "python${version%.*}"
fi
echo "  venv … ok"

if [ ! -x .venv/bin/python ] || ! suits .venv/bin/python; then
    "$python" -m venv --clear .venv
fi
pip=".venv/bin/python -m pip --disable-pip-version-check"
echo "  packages … from $lock, each checked by its hash"
$pip install --quiet --require-hashes -r "$lock"
$pip install --quiet --no-deps --no-build-isolation -e .
echo "  packages … ok"
echo
touch "$stamp"
