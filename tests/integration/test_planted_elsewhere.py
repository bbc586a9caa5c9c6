"""Mistakes in URLs, secrets, the witness and folders, planted as in test_planted_mistakes.py: what is printed is pasted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from testbed.rig import planted
from testbed.rig.planted import PlantedOffice

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedOffice]:
    with planted.office(tmp_path_factory.mktemp("office")) as one:
        yield one


@pytest.fixture
def office(made: PlantedOffice) -> Iterator[PlantedOffice]:
    made.restore()
    yield made
    made.restore()


def wrong(office: PlantedOffice, right: str, instead: str) -> tuple[int, str]:
    """What `check` says once one text stands in the place of another."""
    text = office.config.read_text("utf-8")
    assert right in text
    office.config.write_text(text.replace(right, instead, 1), "utf-8")
    return office.typed("check")


def group(pattern: str, printed: str) -> str:
    found = re.search(pattern, printed)
    assert found is not None, printed
    return found[1]


def typed(line: str) -> None:
    """As it was printed; who is root needs no sudo, and the service's user is this one."""
    line = line.strip().removeprefix("→ ").replace("sudo ", "").replace("-o kiva-relay -g kiva-relay ", "")
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)


def line_with(text: str, printed: str) -> str:
    return next(line for line in printed.splitlines() if text in line)


def test_an_address_of_ipv6_without_its_brackets(office: PlantedOffice, postgres_database: str) -> None:
    url = sa.make_url(postgres_database)
    bare = f"postgresql://{url.username}@::1:{url.port}/{url.database}"
    code, printed = wrong(office, f"sqlite:///{office.folder}/mis.db", bare)
    assert code == 2
    assert "10:8" in printed
    assert "an address with colons stands between brackets" in printed
    example = group(r"with a port as (\[::1\]):5432", printed)
    _, printed = wrong(office, f"@::1:{url.port}", f"@{example}:{url.port}")
    assert "between brackets" not in printed
    assert "[::1]" in printed or "::1" in printed


def test_a_port_that_is_no_number(office: PlantedOffice, postgres_database: str) -> None:
    url = sa.make_url(postgres_database)
    named = f"postgresql://{url.username}@127.0.0.1:mis/{url.database}"
    code, printed = wrong(office, f"sqlite:///{office.folder}/mis.db", named)
    assert code == 2
    assert "mis.url: the port is no number from 1 to 65535" in printed
    assert group(r"or (HOST) alone", printed)
    code, printed = wrong(office, "127.0.0.1:mis", "127.0.0.1")
    assert code != 2
    assert "no number" not in printed


@pytest.mark.parametrize("password", ["p@ss/w0rd", "p#ss", "p/ss", "p:ss/", "[::1]/"])
def test_what_may_be_a_password_is_never_taken_for_a_port_or_an_address(office: PlantedOffice, password: str) -> None:
    code, printed = wrong(office, f"sqlite:///{office.folder}/mis.db", f"postgresql://relay:{password}@127.0.0.1/mis")
    assert code == 2
    assert "leave the password out of the URL" in printed
    assert password not in printed


def test_three_strokes_for_four(office: PlantedOffice) -> None:
    """`sqlite:///srv/mis.db` is a file in the folder of the configuration; check said that it can start."""
    code, printed = wrong(office, f"sqlite:///{office.folder}/mis.db", f"sqlite://{office.folder}/mis.db")
    assert code == 1
    assert "There is no file" in printed
    assert "mis.url" in printed
    assert "It can start" not in printed
    code, printed = wrong(office, f"sqlite://{office.folder}/mis.db", group(r"four strokes: (sqlite:\S+)", printed))
    assert code == 0, printed


def test_a_file_that_is_not_there_is_no_server_that_comes_back(office: PlantedOffice) -> None:
    code, printed = wrong(office, "/mis.db", "/books/mis.db")
    assert code == 1
    assert f"There is no file {office.folder}/books/mis.db" in printed
    assert "It can start" not in printed
    assert line_with("ls -l", printed).strip() == f"ls -l {office.folder}"


def test_a_folder_for_the_file_of_the_mis(office: PlantedOffice) -> None:
    code, printed = wrong(office, "/mis.db", "/mappings")
    assert code == 1
    assert f"{office.folder}/mappings, which mis.url names, is a folder" in printed
    typed(line_with("ls -l", printed))


def test_another_file_for_the_one_of_the_mis(office: PlantedOffice) -> None:
    (office.folder / "book.csv").write_text("loan;amount\n" * 9, "utf-8")
    code, printed = wrong(office, "/mis.db", "/book.csv")
    assert code == 1
    assert f"{office.folder}/book.csv, which mis.url names, is no SQLite database" in printed
    assert line_with("  file ", printed).strip() == f"file {office.folder}/book.csv"


def test_another_file_for_the_one_of_the_outbox(office: PlantedOffice) -> None:
    (office.folder / "book.csv").write_text("loan;amount\n" * 99, "utf-8")
    code, printed = wrong(office, "/outbox.db", "/book.csv")
    assert code == 1
    assert f"The outbox {office.folder}/book.csv is damaged (file is not a database)" in printed
    assert wrong(office, "/book.csv", "/outbox.db")[0] == 0


def test_a_code_that_never_comes(office: PlantedOffice) -> None:
    """NULL passes through every function, so that a line for it in `choose` waits in vain."""
    mapping = office.folder / "mappings" / "loan_draft.yaml"
    text = mapping.read_text("utf-8")
    assert 'gender: {text: "female"}' in text
    planted_text = "gender: {from: account, choose: {L1: female, null: male}, else: refuse}"
    mapping.write_text(text.replace('gender: {text: "female"}', planted_text), "utf-8")
    _, printed = office.typed("mapping", "check")
    assert "6:" in printed
    assert "NULL never comes here: it passes as NULL" in printed
    right = group(r"→ (from: .*)", printed)
    assert right == "from: \"account or 'none'\"    and here: none: male"
    source, code = right.split("    and here: ")
    mended = planted_text.replace("from: account", source).replace("null: male", code)
    mapping.write_text(text.replace('gender: {text: "female"}', mended), "utf-8")
    _, printed = office.typed("mapping", "check")
    assert "NULL never comes" not in printed
    assert "1 warning" in printed  # of the notes, as before
    assert "mistake" not in printed


def test_a_folder_for_the_file_of_a_secret(office: PlantedOffice) -> None:
    folder = office.folder / "secrets"
    folder.mkdir(exist_ok=True)
    shutil.copy2(office.folder / "secret", folder / "kiva")
    code, printed = wrong(office, f"{{file: {office.folder}/secret}}", f"{{file: {folder}}}")
    assert code == 2
    assert f"expected a file, and {folder} is a folder" in printed
    code, printed = wrong(office, f"{{file: {folder}}}", group(r"as (\{file: .*\})", printed))
    assert code == 0, printed


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f'"{SECRET}"\n', "Quotation marks stand around it"),
        (f"  {SECRET} \n", "A blank stands before or behind it"),
        (f"{SECRET}\nof Kiva's staging\n", "It has more than one line"),
    ],
)
def test_a_secret_with_something_around_it(office: PlantedOffice, written: str, said: str) -> None:
    file = office.folder / "secret"
    file.write_text(written, "utf-8")
    _, printed = office.typed("check")
    assert f"kiva.client_secret is {{file: {file}}}. {said}" in printed
    assert SECRET not in printed
    typed(line_with("sudo sed", printed))
    assert file.read_text("utf-8").strip("\n") == SECRET
    code, printed = office.typed("check")
    assert code == 0
    assert said not in printed


def test_a_secret_with_line_ends_behind_it_is_one_all_the_same(office: PlantedOffice) -> None:
    (office.folder / "secret").write_bytes(f"{SECRET}\r\n\r\n".encode())
    code, printed = office.typed("check")
    assert code == 0
    assert "kiva.client_secret is" not in printed


def test_a_secret_that_windows_wrote(office: PlantedOffice) -> None:
    file = office.folder / "secret"
    file.write_bytes(SECRET.encode("utf-16"))
    code, printed = office.typed("check")
    assert code == 1
    assert "is no text in UTF-8" in printed
    typed(line_with("iconv", printed))
    assert file.read_text("utf-8").strip("\ufeff") == SECRET
    assert not list(office.folder.glob("*.utf-8"))
    assert office.typed("check")[0] == 0


def test_a_folder_for_the_witness(office: PlantedOffice) -> None:
    """check said ok, and the relay ended at its start."""
    (office.folder / "seen").mkdir(exist_ok=True)
    code, printed = wrong(office, "outbox:\n", f"outbox:\n  witness: {office.folder}/seen\n")
    assert code == 1
    assert f"{office.folder}/seen is a folder; outbox.witness names a file" in printed
    right = group(r"(witness: \S+/witness\.log)", printed)
    assert wrong(office, f"witness: {office.folder}/seen", right)[0] == 0


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
def test_a_witness_that_cannot_be_read_or_written(
    office: PlantedOffice, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    file = office.folder / "witness.log"
    file.touch()
    file.chmod(mode)
    if os.geteuid() == 0:  # who may do all
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, how, **more: access(path, how, **more) and _may(Path(path), how))
    code, printed = wrong(office, "outbox:\n", f"outbox:\n  witness: {file}\n")
    assert code == 1
    assert f"{file} cannot be read and written" in printed
    typed(line_with("sudo chmod 600", printed))
    assert office.typed("check")[0] == 0
    file.unlink()


def _may(path: Path, how: int) -> bool:
    return (path.stat().st_mode >> 6) & how == how


def test_a_mapping_for_its_folder(office: PlantedOffice) -> None:
    code, printed = wrong(office, "mappings: mappings", "mappings: mappings/loan_draft.yaml")
    assert code == 2
    assert "mappings/loan_draft.yaml is a file, and mappings names its folder" in printed
    right = group(r"as (mappings: \S+)", printed)
    assert wrong(office, "mappings: mappings/loan_draft.yaml", right)[0] == 0


def test_a_folder_for_a_mapping(office: PlantedOffice) -> None:
    folder = office.folder / "mappings" / "old.yaml"
    folder.mkdir()
    try:
        code, printed = office.typed("check")
        assert code == 1
        assert "old.yaml: cannot be read: Is a directory" in printed
        typed("mv" + line_with("a file is expected: mv", printed).partition("a file is expected: mv")[2])
        assert office.typed("check")[0] == 0
    finally:
        for one in (folder, folder.with_name("old.yaml.away")):
            shutil.rmtree(one, ignore_errors=True)


def test_a_folder_for_the_configuration(office: PlantedOffice) -> None:
    real, office_config = office.config, office.config
    moved = real.with_name("moved")
    moved.mkdir(exist_ok=True)
    shutil.copy(office_config, moved / "config.yaml")
    real.unlink()
    real.symlink_to(moved)
    try:
        code, printed = office.typed("check")
        assert code == 2
        assert f"{real} is a folder." in printed
        assert shlex.split(printed.splitlines()[-1]) == ["kiva-relay", "check", "--config", f"{real}/config.yaml"]
    finally:
        real.unlink()
        shutil.rmtree(moved)


@pytest.mark.parametrize("open_to_all", ["config.yaml", "mappings", "mappings/loan_draft.yaml"])
def test_what_everybody_may_change_decides_what_is_sent(office: PlantedOffice, open_to_all: str) -> None:
    place = office.folder / open_to_all
    place.chmod(place.stat().st_mode | 0o002)
    _, printed = office.typed("check")
    assert f"Everybody on this machine can change {place}" in printed
    typed(line_with("chmod o-w", printed))
    assert not place.stat().st_mode & 0o002
    code, printed = office.typed("check")
    assert code == 0
    assert "Everybody on this machine" not in printed


def test_a_server_of_kiva_without_its_https(office: PlantedOffice) -> None:
    code, printed = wrong(office, f"api_url: {office.kiva}", f"api_url: {office.kiva.removeprefix('http://')}")
    assert code == 2
    assert "8:12" in printed
    assert "kiva.api_url: expected https://…" in printed
    assert "as https://HOST, with its https://" in printed


def test_tls_where_none_is_spoken(office: PlantedOffice) -> None:
    """check said that it can start, and waited for a server that had answered."""
    tls = office.kiva.replace("http://", "https://")
    code, printed = wrong(office, f"api_url: {office.kiva}", f"api_url: {tls}")
    assert code == 1
    assert f"What answers at {tls} speaks no TLS" in printed
    assert wrong(office, f"api_url: {tls}", group(r"(api_url: http:\S+)", printed))[0] == 0


def test_a_mark_and_the_line_ends_of_windows_do_no_harm(office: PlantedOffice) -> None:
    text = office.config.read_text("utf-8").replace("\n", "\r\n")
    office.config.write_bytes(text.encode("utf-8-sig"))
    assert office.typed("check")[0] == 0
