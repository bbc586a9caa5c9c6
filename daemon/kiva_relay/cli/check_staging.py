"""`kiva-relay check --staging`: what only Kiva can say, asked on staging with one draft, one position, one journal."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pydantic

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import staging
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.staging import EarlierRun, Recorder, StagingAnswer
from kiva_relay.outbox import own_file
from kiva_relay.words.spoken import marked, tr

_ASKED = {
    "audience": marked("For which audience is a token given?"),
    "scopes": marked("Are all four permissions granted?"),
    "partner": marked("Whose token is it?"),
    "receipts": marked("How are receipts written?"),
    "drafts_visible": marked("Does GET /loans list drafts before they are published?"),
    "journals_path": marked("Under which path are journals taken?"),
    "journals_body": marked("As a bare list, or inside an object?"),
    "columns": marked("May a position go without the client's id?"),
    "basis": marked("Is it principal repaid, or outstanding; may it fall?"),
}
_OPEN = {
    "no_token": marked("Kiva gave no token: look at kiva.client_id, kiva.client_secret and kiva.token_url."),
    "not_said": marked("Kiva's answer does not say."),
    "not_listed_yet": marked("Not listed yet, which proves nothing: run this again after an hour, with the same file."),
    "no_loan_paid_back": marked(
        "The partner has no loan at staging that is paid back: have one published and funded there."
    ),
    "no_loan_for_journals": marked("The partner has no loan at staging that takes journals (journals.statuses)."),
    "answer_lost": marked("The answer was lost: look in PA2 (staging), and run this again."),
    "journal_refused": marked("Kiva refused it in every form: see the file, and ask Kiva."),
    "only_kiva_says": marked("No call tells. Ask Kiva, or compare last month's file: kiva-relay report --compare FILE"),
    "none_given": marked("Kiva accepted nothing."),
}
_MARGIN = " " * 12


class KeptDraft(pydantic.BaseModel):
    """A draft that staging took: its loan id, and when it was sent."""

    loan_id: str
    at: pydantic.AwareDatetime


class KeptRuns(pydantic.BaseModel):
    """What is read again of the file of earlier runs, the oldest draft first: the older, the more its absence says."""

    drafts: list[KeptDraft] = []

    @property
    def earliest(self) -> EarlierRun | None:
        """The first draft that was taken."""
        return next((EarlierRun(one.loan_id, one.at) for one in self.drafts), None)


def run(settings: Settings, file: Path, *, yes: bool, as_json: bool) -> int:
    """Ask all of it, keep what Kiva really answered, and say which setting each answer fixes."""
    kiva = settings.kiva
    if kiva.environment == "production":
        raise errors.UsageError(
            "check --staging sends a made-up loan: never to Kiva's production. Nothing was sent.",
            hint="kiva: {environment: staging}",
        )
    now = frame.now()
    loan_id = f"relay-test-{now:%Y%m%d%H%M%S}"
    if not as_json:
        frame.header(settings)
        frame.say(
            tr(
                "This sends to {url}: one draft (loan {loan}, “Relay Test, please delete”), one position",
                url=kiva.api_url,
                loan=loan_id,
            )
        )
        frame.say(
            tr("of 0 for a loan that staging lists as being paid back, and one journal. Nothing else, nowhere else.")
        )
    if not frame.agreed(tr("Send them?"), yes=yes):
        frame.say(tr("Nothing was sent."))
        return 0
    before = _read(file)
    client = Client(kiva)
    try:
        recorder = Recorder(client, kiva)
        found = staging.ask(
            recorder, statuses=settings.journals.statuses, loan_id=loan_id, now=now, earlier=before.earliest
        )
    finally:
        client.close()
    _write(file, found, recorder, loan_id=loan_id, now=now, before=before)
    if as_json:
        frame.print_json([_json(one) for one in found])
    else:
        _show(found, file)
    return int(any(one.verdict != "ok" for one in found))


def _json(one: StagingAnswer) -> dict[str, Any]:
    shown = {name: getattr(one, name) for name in ("question", "found", "why", "setting", "configured")}
    return {**shown, "verdict": one.verdict}


def _show(found: list[StagingAnswer], file: Path) -> None:
    for one in found:
        frame.say()
        frame.verdict(one.verdict, f"{tr(*_ASKED[one.question])}   {_found(one)}")
        if one.verdict == "open":
            frame.say(f"{_MARGIN}{_why(one)}")
        elif one.verdict == "change" and one.setting is not None:
            section, _, name = one.setting.rpartition(".")
            write, now_is = (
                tr("write in config.yaml, under {section}:", section=section),
                tr("now {value}", value=one.configured),
            )
            frame.say(f"{_MARGIN}{write}   {name}: {one.found}   ({now_is})")
        elif one.verdict == "change":
            frame.say(f"{_MARGIN}{tr('Ask Kiva to grant what is missing; what needs it is held until then.')}")
    frame.say()
    frame.say(
        tr("What Kiva really answered is kept in {file}. Delete the draft in PA2 (staging).", file=file.absolute())
    )


def _found(one: StagingAnswer) -> str:
    """What holds there; what can be written into a setting is in no language."""
    if one.found is None:
        return tr("open")
    if one.question != "scopes":
        return one.found
    missing = one.found.removeprefix("missing: ")
    return tr("all") if missing == one.found else tr("missing: {scopes}", scopes=missing)


def _why(one: StagingAnswer) -> str:
    return tr(*_OPEN[one.why]) if one.why in _OPEN else tr("Kiva answered: {why}. See the file.", why=one.why)


def _read(file: Path) -> KeptRuns:
    """What earlier runs kept. It is read before anything is sent: nothing of what Kiva answers may be lost by it."""
    try:
        return KeptRuns.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return KeptRuns()
    except (OSError, pydantic.ValidationError) as error:
        raise errors.UsageError(
            f"{file} is not what this command wrote. Nothing was sent.",
            hint="kiva-relay check --staging --file another.json",
        ) from error


def _write(
    file: Path, found: list[StagingAnswer], recorder: Recorder, *, loan_id: str, now: datetime, before: KeptRuns
) -> None:
    taken = any(one["path"].endswith("/loan_draft") and one["status"] == 200 for one in recorder.exchanges)  # noqa: PLR2004 - HTTP's OK
    kept = [*before.drafts, *([KeptDraft(loan_id=loan_id, at=now)] if taken else [])]
    drafts, answers = [one.model_dump() for one in kept], [_json(one) for one in found]
    text = orjson.dumps(
        {"at": now, "drafts": drafts, "answers": answers, "exchanges": recorder.exchanges}, option=orjson.OPT_INDENT_2
    )
    with os.fdopen(own_file.opened(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as written:
        written.write(text)
