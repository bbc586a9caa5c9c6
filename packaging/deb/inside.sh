#!/bin/sh
# Runs in the root of one Debian release, as root: builds the program in its final place, and the package around it.
#   inside.sh VERSION SUITE        the tree in /build/src; the package goes to /build/out
set -eu
version=$1
suite=$2
src=/build/src
stage=/build/stage
prefix=/usr/lib/kiva-relay
tools=/usr/lib/kiva-relay-build
rm -rf "$stage" /build/out /build/wheel
mkdir -p "$stage/DEBIAN" "$stage/usr/lib" /build/out
cd "$src"

# The environment of its own, made where it will be: its scripts name that place. Each file is checked by its hash. It is
# made anew when a lock file changed. What only builds stands beside it, and stays here.
made=$(cat requirements/relay.lock requirements/build.lock | sha256sum)
pip="$prefix/bin/python -m pip --disable-pip-version-check"
if [ "$(cat "$tools/made-of" 2>/dev/null)" != "$made" ]; then
    rm -rf "$prefix" "$tools"
    python3 -m venv "$prefix"
    $pip install --quiet --require-hashes -r requirements/relay.lock
    $pip install --quiet --require-hashes --target "$tools" -r requirements/build.lock
    echo "$made" > "$tools/made-of"
fi
PYTHONPATH=$tools $pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheel .
$pip install --quiet --no-deps --force-reinstall /build/wheel/kiva_relay-*.whl
"$prefix/bin/python" packaging/deb/manual.py /build/manual
cp -a "$prefix" "$stage/usr/lib/"
( cd "$stage$prefix" && rm -rf bin/pip* lib/python*/site-packages/pip lib/python*/site-packages/pip-* \
    lib/python*/site-packages/setuptools* lib/python*/site-packages/pkg_resources lib/python*/site-packages/_distutils_hack* \
    lib/python*/site-packages/distutils-precedence.pth )

put() { # put MODE FILE PLACE: the unit's own prefix becomes the package's
    mkdir -p "$(dirname "$stage$3")"
    sed "s|/opt/kiva-relay/bin/|$prefix/bin/|g" "$2" > "$stage$3"
    chmod "$1" "$stage$3"
}
for unit in systemd/*.service systemd/*.timer; do put 644 "$unit" "/usr/lib/systemd/system/$(basename "$unit")"; done
put 644 systemd/sysusers.d/kiva-relay.conf /usr/lib/sysusers.d/kiva-relay.conf
put 644 systemd/tmpfiles.d/kiva-relay.conf /usr/lib/tmpfiles.d/kiva-relay.conf
mkdir -p "$stage/usr/bin"
ln -s "$prefix/bin/kiva-relay" "$stage/usr/bin/kiva-relay"
for page in /build/manual/man1/*.1; do
    put 644 "$page" "/usr/share/man/man1/$(basename "$page")"
    gzip -9n "$stage/usr/share/man/man1/$(basename "$page")"
done
put 644 /build/manual/bash/kiva-relay /usr/share/bash-completion/completions/kiva-relay
put 644 /build/manual/zsh/_kiva-relay /usr/share/zsh/vendor-completions/_kiva-relay
put 644 /build/manual/fish/kiva-relay.fish /usr/share/fish/vendor_completions.d/kiva-relay.fish
for file in packaging/monitoring/*; do put 644 "$file" "/usr/share/kiva-relay/monitoring/$(basename "$file")"; done
for file in docs/*.md README.md CHANGELOG.md LICENSE config.yaml; do put 644 "$file" "/usr/share/doc/kiva-relay/$(basename "$file")"; done
for file in docs/fr/*.md docs/es/*.md; do put 644 "$file" "/usr/share/doc/kiva-relay/${file#docs/}"; done
put 644 config.yaml /etc/kiva-relay/config.sample.yaml
echo "/etc/kiva-relay/config.sample.yaml" > "$stage/DEBIAN/conffiles"

python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
after=$(python3 -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
cat > "$stage/DEBIAN/control" <<CONTROL
Package: kiva-relay
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: kiva-relay <kiva-relay@localhost>
Section: net
Priority: optional
Depends: python3 (>= $python), python3 (<< $after), ca-certificates, systemd
Installed-Size: $(du -sk "$stage" | cut -f1)
Description: sends the loans of a microfinance institution's database to Kiva, once each
 A daemon beside the database of a microfinance institution. It notices new and
 changed loans, repayments and notes, maps them by files that an administrator
 edits, and delivers them to Kiva's Partner API, each exactly once.
 .
 Built for Debian $suite.
CONTROL
for script in preinst postinst prerm; do
    sed "s|@VERSION@|$version|g" "packaging/deb/$script" > "$stage/DEBIAN/$script"
done
sed -e "/@WITHOUT_BODIES@/{r packaging/deb/without_bodies.py
d}" packaging/deb/postrm > "$stage/DEBIAN/postrm"
chmod 755 "$stage"/DEBIAN/preinst "$stage"/DEBIAN/postinst "$stage"/DEBIAN/prerm "$stage"/DEBIAN/postrm
# Not xz: it took longer than all that was before it, and beside other work it did not end. The dpkg of both releases reads
# zstd: 2 s instead of 9 (37 at xz's usual level), for 45.8 MB instead of 43.2.
dpkg-deb --root-owner-group -Zzstd -z9 --build "$stage" "/build/out/kiva-relay_${version}_$(dpkg --print-architecture).deb"
