from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.config import secret
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.secret import Secret
from kiva_relay.errors import UsageError


def test_a_file_is_read_late_and_without_its_line_end(tmp_path: Path) -> None:
    held = secret.parse({"file": "kiva"}, folder=tmp_path)
    (tmp_path / "kiva").write_text("geheim é\n", encoding="utf-8")
    assert held.reveal({}) == "geheim é"


def test_a_variable_of_the_environment() -> None:
    assert secret.parse({"env": "KIVA_SECRET"}).reveal({"KIVA_SECRET": "geheim"}) == "geheim"


def test_a_credential_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "kiva").write_text("geheim")
    assert secret.parse({"credential": "kiva"}).reveal({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "geheim"


def test_a_secret_that_stands_in_the_file() -> None:
    held = secret.parse("geheim")
    assert held.literal
    assert held.reveal({}) == "geheim"


def test_no_way_of_printing_shows_it(tmp_path: Path) -> None:
    held = secret.parse("geheim")
    printed = [repr(held), str(held), f"{held}", f"{held:>40}", "%s %r" % (held, [held])]  # noqa: UP031 - one of the ways
    assert not [text for text in printed if "geheim" in text]


def test_a_reference_says_where_it_points() -> None:
    assert str(secret.parse({"env": "KIVA_SECRET"})) == "{env: KIVA_SECRET}"


def test_a_credential_outside_of_the_service_says_how_to_run_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/kiva-relay", "mapping", "preview", "loan_draft", "--loan", "0871"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    held = secret.named(secret.parse({"credential": "mis-password"}), "mis.password")
    with pytest.raises(UsageError) as wrong:
        held.reveal({})
    assert str(wrong.value) == (
        "mis.password is {credential: mis-password}. Credentials of systemd exist inside the service only."
    )
    assert wrong.value.hint == "sudo kiva-relay mapping preview loan_draft --loan 0871"


def test_a_command_run_with_sudo_reads_a_credential_where_systemd_takes_it_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Secret("credential", "mis-password").folder == Path("/etc/kiva-relay/secret")
    held = Secret("credential", "mis-password", folder=tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        held.reveal({})
    (tmp_path / "mis-password").write_text("geheim\n")
    assert held.reveal({}) == "geheim"


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Secret("env", "NO_WHERE", "kiva.client_secret"), "kiva.client_secret is {env: NO_WHERE} and this environment"),
        (Secret("file", "/nowhere/x", "mis.password"), "mis.password is {file: /nowhere/x}, and /nowhere/x does not"),
        (Secret("credential", "gone", "mis.password"), "mis.password is {credential: …}, and "),
    ],
)
def test_a_secret_that_is_not_there_is_told_by_its_setting(held: Secret, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is") as wrong:
        held.reveal({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert str(wrong.value).startswith(said)
    assert wrong.value.hint


def test_an_empty_credential_is_no_password(tmp_path: Path) -> None:
    (tmp_path / "mis-password").write_text("\n")
    with pytest.raises(UsageError, match="this credential is empty") as wrong:
        Secret("credential", "mis-password").reveal({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert wrong.value.hint is not None
    assert "sudoedit /etc/kiva-relay/secret/mis-password" in wrong.value.hint


@pytest.mark.parametrize(
    ("written", "message", "remedy"),
    [
        (
            {"fil": "/x"},
            "expected {credential: NAME}, {file: /PATH} or {env: NAME}, found another",
            "did you mean: file",
        ),
        ({"vault": "x"}, "expected {credential: NAME}, {file: /PATH} or {env: NAME}, found another key", ""),
        ({"file": "/x", "env": "Y"}, "expected one of {credential: NAME}", ""),
        ({"env": "$KIVA"}, "expected the name of a variable, found a text", "only the name"),
        ({"credential": "../x"}, "expected the name of a credential, found a text", ""),
        ({"file": None}, "expected the name of the file, found nothing", ""),
        (None, "expected {credential: NAME}", ""),
        ("", "expected {credential: NAME}", ""),
        (True, "expected {credential: NAME}", "if this is the secret itself"),
    ],
)
def test_what_is_no_secret_is_told_what_to_write(written: object, message: str, remedy: str) -> None:
    with pytest.raises(Mismatch) as wrong:
        secret.parse(written)
    assert str(wrong.value).startswith(message)
    assert wrong.value.remedy.startswith(remedy)


def test_a_file_that_windows_wrote_is_read_without_its_mark(tmp_path: Path) -> None:
    """Notepad begins a text with a byte order mark, which is no letter of a password."""
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbfs3cr3t\r\n")
    file.chmod(0o600)
    assert secret.Secret("file", str(file)).reveal() == "s3cr3t"


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_a_machine_in_trouble_is_no_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It ended the relay with 2, after which systemd never starts it again."""
    file = tmp_path / "secret"
    file.write_text("s3cr3t")
    file.chmod(0o600)
    held = secret.Secret("file", str(file), "kiva.client_secret")

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", fails)
    with pytest.raises(errors.RelayError, match="cannot be read") as caught:
        held.reveal()
    assert caught.value.exit_code == 1
    monkeypatch.setattr(Path, "stat", fails)
    with pytest.raises(errors.RelayError, match="cannot be read") as looked:
        secret._look_at(file, tmp_path)
    monkeypatch.undo()
    assert looked.value.exit_code == 1
