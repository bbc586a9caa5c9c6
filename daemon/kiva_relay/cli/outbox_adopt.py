"""`kiva-relay outbox adopt --csv FILE`: drafts that were typed into PA2 by hand, which Kiva's list does not show."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.outbox import listing, settlement, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.settlement import Adopted

_COLUMNS = ("loan_id", "at_kiva", "internal_loan_id")
_FEW = 10

Csv = Annotated[
    Path,
    typer.Option("--csv", metavar="FILE", help="Loan ids, one per line; or a table with a column loan_id or at_kiva."),
]


def command(
    csv_file: Csv, config: frame.Config = None, *, note: frame.Note = "", yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:  # fmt: skip
    """Take loans as being in PA2 already: their drafts are never sent, even where the MIS owes them only later."""
    note = words.why_is_said(note)
    settings = frame.load(config)
    ids = read(csv_file)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            known = {loan.lstrip("0"): loan for loan in listing.draft_ids(tx)}
        _must_be_spelled_right(ids, known)
        question = f"Take {errors.counted(len(ids), 'loan')} as being in PA2 already, and never send their drafts?"
        if not as_json:
            frame.header(settings)
        if not frame.agreed(question, yes=yes):
            frame.say("Nothing was changed.")
            return 0
        done = _adopt(outbox, ids, note=note)
    if as_json:
        frame.print_json(done.__dict__ | {"moved": [words.entry_json(entry) for entry in done.moved]})
        return 1 if done.being_sent else 0
    frame.say(f"Taken as delivered, not sent:      {errors.counted(len(done.moved), 'loan draft')}")
    frame.say(f"Not owed yet, recorded for later:  {errors.counted(len(done.noted), 'loan')}")
    frame.say(f"Known to be at Kiva already:       {errors.counted(len(done.known), 'loan')}")
    if done.being_sent:
        frame.say(f"Being sent at this moment; look again in a minute:   {' '.join(done.being_sent)}")
    frame.say("Recorded with your name and note. Was one of them a mistake? See what to do about it:")
    frame.say(f"  kiva-relay outbox show --loan {ids[0]}")
    return 1 if done.being_sent else 0


def read(file: Path) -> list[str]:
    """The loan ids of a file, each once: one a line, or a column of a table.

    Raises:
        UsageError: it cannot be read, has several columns and none of ours, or holds no id.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"--csv: {file} cannot be read: {error}. Nothing was changed.") from error
    first = text.splitlines()[0] if text.strip() else ""
    mark = max(",;\t", key=first.count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=mark) if any(row)]
    heads = [cell.lower() for cell in rows[0]] if rows else []
    named = [heads.index(name) for name in _COLUMNS if name in heads]
    if not named and len(heads) > 1:
        raise errors.UsageError(
            f"--csv: {file} has the columns {', '.join(heads)}; expected one called loan_id or at_kiva."
            " Nothing was changed.",
            hint="Or one loan id per line, and nothing else.",
        )
    column = named[0] if named else 0
    ids = [row[column] for row in rows[1 if named else 0 :] if len(row) > column and row[column]]
    if not ids:
        raise errors.UsageError(f"--csv: {file} holds no loan id. Nothing was changed.")
    return list(dict.fromkeys(ids))


def _must_be_spelled_right(ids: list[str], known: dict[str, str]) -> None:
    """A spreadsheet takes the zeros away; then the loan would be recorded under an id that no draft ever has."""
    spelled = [(one, known[one.lstrip("0")]) for one in ids if known.get(one.lstrip("0"), one) != one]
    if spelled:
        lines = [f"{found}: expected {expected}" for found, expected in spelled[:_FEW]]
        more = len(spelled) - len(lines)
        raise errors.UsageError(
            f"{errors.counted(len(spelled), 'loan id')} spelled differently from the MIS. Nothing was changed.",
            hint="\n".join([*lines, *([f"and {more:,} more"] if more else [])]),
        )


def _adopt(outbox: Outbox, ids: list[str], *, note: str) -> Adopted:
    try:
        with outbox.begin() as tx:
            return settlement.adopt(tx, ids, by=frame.person(), note=note, now=frame.now())
    except store.Overtaken as error:
        raise errors.UsageError(
            "The relay moved one of them at this moment. Nothing was changed.", hint=frame.with_sudo()
        ) from error
