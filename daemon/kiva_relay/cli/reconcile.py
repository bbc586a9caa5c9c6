"""`kiva-relay reconcile`: what MIS, outbox and Kiva say differently, loan by loan. Sends nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.account import reconciling
from kiva_relay.account.reconcile import DiscrepancyKind
from kiva_relay.account.reconciling import Reconciliation
from kiva_relay.cli import figure, frame, words
from kiva_relay.config.settings import Settings
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.words import language, reconcile

Suggest = Annotated[
    bool, typer.Option("--suggest", help="Only loans whose id was probably typed in another way, and which they are.")
]
Gone = Annotated[bool, typer.Option("--gone", help="Only what is at Kiva and gone from the MIS.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")]
Known = Annotated[
    bool, typer.Option("--known", help="Do not compare now: show what was found last, also what was marked as done.")
]

_MOST = 20


def command(
    config: frame.Config = None,
    *,
    suggest: Suggest = False,
    gone: Gone = False,
    known: Known = False,
    as_csv: AsCsv = False,
    as_json: frame.AsJson = False,
    lang: frame.Lang = None,
) -> int:
    """Compare what the MIS, the outbox and Kiva's list say of every loan, and show what differs.

    The relay does it every night. Kiva lists no drafts, so one that nobody has published yet is no difference.
    Exit code: 0, or 1 when something differs.
    """
    if as_csv and as_json:
        raise errors.UsageError("--csv and --json were given; one is enough.")
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox:
        if not known and reconciling.run(outbox, settings, now=frame.now()) is None:
            raise errors.UsageError(
                "Kiva's list of loans was never read whole: there is nothing to compare with yet.",
                hint="kiva-relay status",
            )
        with outbox.read() as tx:
            last = reconciling.last(tx, besides_seen=not known)
    found = [one for one in last.found if _is_wanted(one, suggest=suggest, gone=gone)]
    if as_json:
        frame.print_json([_json(one) for one in found])
    elif as_csv:
        frame.print_csv(("number", "kind", "loan", "kiva_id", "suggested", "params"), [_row(one) for one in found])
    else:
        _show(found, last, settings, lang=lang, only=suggest or gone)
    return int(any(one.seen_at is None for one in found))


def _is_wanted(one: KeptDiscrepancy, *, suggest: bool, gone: bool) -> bool:
    if suggest:
        return one.suggested is not None
    return not gone or one.kind == DiscrepancyKind.GONE_HERE


def _json(one: KeptDiscrepancy) -> dict[str, object]:
    return {
        "number": one.id,
        "kind": one.kind,
        "loan_id": one.loan_id,
        "kiva_id": one.kiva_id or None,
        "entry": one.entry_id,
        "params": one.params,
        "suggested": one.suggested,
        "because": one.because if one.suggested is not None else None,
        "unclear": one.because if one.suggested is None else None,
        "since": one.since,
        "done_by": one.seen_by,
    }


def _row(one: KeptDiscrepancy) -> tuple[object, ...]:
    params = " ".join(f"{name}={value}" for name, value in sorted(one.params.items()))
    return one.id, one.kind, one.loan_id, one.kiva_id, one.suggested or "", params


def _show(
    found: Sequence[KeptDiscrepancy], last: Reconciliation, settings: Settings, *, lang: str | None, only: bool
) -> None:
    spoken = language.of(lang or settings.language)
    frame.header(settings)
    compared = last.compared
    if compared is None:
        frame.say("Nothing was compared yet.   kiva-relay reconcile")
        return
    frame.say(
        f"Compared {figure.moment(compared.at, settings, at=frame.now())}: {errors.counted(compared.loans, 'loan')} at"
        f" Kiva (list of {figure.moment(compared.listed_at, settings, at=frame.now())}),"
        f" {errors.counted(compared.drafts, 'draft')} of ours."
    )
    if not compared.book_is_read:
        frame.say("The MIS's book of repayments was not read whole: what the MIS does not have is not told.")
    if not found:
        frame.say("Nothing of that kind." if only else "Nothing differs.")
        return
    kinds = Counter(one.kind for one in found)
    for kind in DiscrepancyKind:
        mine = [one for one in found if one.kind == kind]
        if not mine:
            continue
        frame.say()
        frame.say(reconcile.title(kind.value, kinds[kind.value], spoken), style="bold")
        for one in mine[:_MOST]:
            frame.say(f"  {reconcile.handle(one.id, spoken)}   {reconcile.line(one, spoken)}")
        if len(mine) > _MOST:
            frame.say(f"  and {len(mine) - _MOST} more: kiva-relay reconcile --csv")
    _next(found)


def _next(found: Sequence[KeptDiscrepancy]) -> None:
    frame.say()
    suggested = [one.id for one in found if one.suggested is not None]
    if suggested:
        numbers = " ".join(map(str, suggested[:_MOST]))
        frame.say(words.to_type("Take what is suggested", f'kiva-relay reconcile accept {numbers} --note "…"'))
    frame.say(words.to_type("Nothing is to be done", f'kiva-relay reconcile done {found[0].id} --note "…"'))
