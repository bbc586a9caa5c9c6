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

_ASKED = {
    "audience": "For which audience is a token given?",
    "scopes": "Are all four permissions granted?",
    "partner": "Whose token is it?",
    "receipts": "How are receipts written?",
    "drafts_visible": "Does GET /loans list drafts before they are published?",
    "journals_path": "Under which path are journals taken?",
    "journals_body": "As a bare list, or inside an object?",
    "columns": "May a position go without the client's id?",
    "basis": "Is it principal repaid, or outstanding; may it fall?",
}
_OPEN = {
    "no_token": "Kiva gave no token: look at kiva.client_id, kiva.client_secret and kiva.token_url.",
    "not_said": "Kiva's answer does not say.",
    "not_listed_yet": "Not listed yet, which proves nothing: run this again after an hour, with the same file.",
    "no_loan_paid_back": "The partner has no loan at staging that is paid back: have one published and funded there.",
    "no_loan_for_journals": "The partner has no loan at staging that takes journals (journals.statuses).",
    "answer_lost": "The answer was lost: look in PA2 (staging), and run this again.",
    "journal_refused": "Kiva refused it in every form: see the file, and ask Kiva.",
    "only_kiva_says": "No call tells. Ask Kiva, or compare last month's file: kiva-relay report --compare FILE",
    "none_given": "Kiva accepted nothing.",
}


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
            f"This sends to {kiva.api_url}: one draft (loan {loan_id}, “Relay Test, please delete”), one position"
        )
        frame.say("of 0 for a loan that staging lists as being paid back, and one journal. Nothing else, nowhere else.")
    if not frame.agreed("Send them?", yes=yes):
        frame.say("Nothing was sent.")
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
        frame.verdict(one.verdict, f"{_ASKED[one.question]}   {one.found or 'open'}")
        if one.verdict == "open":
            frame.say(f"            {_OPEN.get(one.why, f'Kiva answered: {one.why}. See the file.')}")
        elif one.verdict == "change" and one.setting is not None:
            section, _, name = one.setting.rpartition(".")
            frame.say(
                f"            write in config.yaml, under {section}:   {name}: {one.found}   (now {one.configured})"
            )
        elif one.verdict == "change":
            frame.say("            Ask Kiva to grant what is missing; what needs it is held until then.")
    frame.say()
    frame.say(f"What Kiva really answered is kept in {file.absolute()}. Delete the draft in PA2 (staging).")


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
