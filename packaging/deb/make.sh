#!/bin/sh
# Builds the Debian package of each release, each in a root of that release, into dist/:  make.sh [SUITE…]
# As root, with debootstrap. The roots are made once, of the mirror that this machine's apt uses, and kept.
set -eu
cd "$(dirname "$0")/../.."
roots=${KIVA_RELAY_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/kiva-relay/roots}
[ "$(id -u)" = 0 ] || { echo "not built: only root may use chroot" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "not built: debootstrap is missing; sudo apt install debootstrap" >&2; exit 2; }
mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' "Created-By: Packages" | awk '$1 == "Debian" && $2 == "Debian" {print $3; exit}')
version=${KIVA_RELAY_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)}
mkdir -p "$roots" dist
for suite in ${*:-bookworm trixie}; do
    case $suite in bookworm) number=12 ;; trixie) number=13 ;; *) echo "no such release here: $suite" >&2; exit 2 ;; esac
    root=$roots/$suite-build
    if ! [ -d "$root" ]; then
        [ -n "$mirror" ] || { echo "not built: this machine's apt names no mirror of Debian" >&2; exit 2; }
        rm -rf "$root.new"
        debootstrap --variant=minbase --include=python3-venv,dpkg-dev,ca-certificates "$suite" "$root.new" "$mirror" >/dev/null
        mv "$root.new" "$root"
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
    env -u TMPDIR chroot "$root" /bin/sh /build/src/packaging/deb/inside.sh "$full" "$suite"
    cp "$root"/build/out/*.deb dist/
    rm -rf "$root/build"
done
ls -l dist/*.deb
