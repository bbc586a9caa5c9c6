#!/bin/sh
# A bare root of a Debian release with a systemd in it, made once and kept, of the mirror that this machine's apt uses:
#   root.sh SUITE       says where it is. 3: it cannot be made here, and why
set -eu
suite=$1
roots=${KIVA_RELAY_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/kiva-relay/roots}
root=$roots/$suite-boot
cannot() { echo "$*" >&2; exit 3; }
if ! [ -d "$root" ]; then
    [ "$(id -u)" = 0 ] || cannot "only root may use chroot"
    command -v debootstrap >/dev/null || cannot "debootstrap is missing; sudo apt install debootstrap"
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' "Created-By: Packages" | awk '$1 == "Debian" && $2 == "Debian" {print $3; exit}')
    [ -n "$mirror" ] || cannot "this machine's apt names no mirror of Debian"
    mkdir -p "$roots"
    new=$(mktemp -d "$roots/$suite-new-XXXXXX")
    trap 'rm -rf "$new"' EXIT
    timeout -k 10 600 debootstrap --variant=minbase --include=systemd-sysv,dbus,python3,ca-certificates \
        "$suite" "$new/root" "$mirror" > "$new/log" 2>&1 || cannot "debootstrap failed: $(tail -1 "$new/log")"
    [ -d "$root" ] || mv "$new/root" "$root" # another run may have been quicker
fi
echo "$root"
