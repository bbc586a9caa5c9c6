#!/bin/sh
# Builds the Debian package of each release, each in a root of that release, into dist/:  make.sh [SUITE…]
# As root, with debootstrap. The roots are made once and kept. 3: it cannot be built here, and why.
set -eu
cd "$(dirname "$0")/../.."
roots=${KIVA_RELAY_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/kiva-relay/roots}
[ "$(id -u)" = 0 ] || { echo "not built: only root may use chroot" >&2; exit 3; }
version=${KIVA_RELAY_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)}
mkdir -p "$roots" dist
for suite in ${*:-bookworm trixie}; do
    case $suite in bookworm) number=12 ;; trixie) number=13 ;; *) echo "no such release here: $suite" >&2; exit 2 ;; esac
    root=$roots/$suite-build
    if ! [ -d "$root" ]; then
        # A copy of the bare one: two by debootstrap would take twice as long.
        bare=$(packaging/deb/root.sh "$suite") || { echo "not built: see above" >&2; exit 3; }
        new=$(mktemp -d "$roots/$suite-new-XXXXXX")
        cp -a --reflink=auto "$bare" "$new/root"
        cp /etc/resolv.conf "$new/root/etc/resolv.conf"
        apt="env -u TMPDIR DEBIAN_FRONTEND=noninteractive timeout -k 10 600 chroot $new/root apt-get -qq"
        # No clock is asked: that of a machine that builds may be a day off.
        if ! { $apt -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update &&
            $apt install --yes --no-install-recommends python3-venv dpkg-dev; } > "$new/log" 2>&1; then
            echo "not built: Debian's packages cannot be had: $(tail -1 "$new/log")" >&2
            rm -rf "$new"
            exit 3
        fi
        mv "$new/root" "$root"
        rm -rf "$new"
    fi
    rm -rf "$root/build"
    mkdir -p "$root/build/src"
    git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$root/build/src"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # How this machine's pip reaches what it installs, and the authorities that it believes.
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ -e "$file" ] && install -D -m 644 "$file" "$root$file"
    done
    full="$version-1~deb${number}u1"
    # The folder for temporary files of whoever builds is not there.
    timeout -k 10 1200 env -u TMPDIR chroot "$root" /bin/sh /build/src/packaging/deb/inside.sh "$full" "$suite"
    cp "$root"/build/out/*.deb dist/
    rm -rf "$root/build"
done
ls -l dist/*.deb
