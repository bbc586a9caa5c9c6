"""Values as a person reads them: an hour, a price of nothing, where a loan is at Kiva, who did it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from kiva_relay.outbox import act, mirror
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.report.line import Price
from kiva_relay.words import catalogue, language, reconcile, report, rest

EN, FR, ES = (language.of(name) for name in catalogue.NAMES)
TODAY = date(2026, 12, 2)


def test_one_o_clock_has_another_article_in_spanish() -> None:
    assert ES.say("task.rest.all", n=1, time="01:00") == "Todo llegó a Kiva hasta la 01:00."
    assert ES.say("task.rest.all", n=0, time="00:59") == "Todo llegó a Kiva hasta las 00:59."
    assert ES.say("task.rest.else", n=13, time="13:00") == "Todo lo demás, hasta las 13:00, llegó a Kiva."
    assert rest.silence(ES, next_at="1:00", missing_at="1:30") == [
        "El próximo mensaje llega mañana a la 1:00.",
        "¿No hay mensaje a la 1:30? Algo anda mal: llame al administrador.",
    ]
    assert rest.silence(FR, next_at="7:00", missing_at="7:30")[0] == "Prochain message demain à 7:00."


@pytest.mark.parametrize("spoken", [EN, FR, ES], ids=catalogue.NAMES)
def test_what_is_repaid_costs_nothing_and_is_not_unknown(spoken: language.Language) -> None:
    said = report.price(Price(None, Decimal(0), "unknown"), "XOF", "2026-11", spoken, at=TODAY)
    assert "0 XOF" not in said
    assert not {"unknown", "inconnu", "desconocido"} & set(said.replace(",", "").split())


def test_where_a_loan_is_at_kiva_is_said_in_words() -> None:
    def said(status: str, spoken: language.Language) -> str:
        params = {"status": status, "detail": "photo <b>"}
        one = KeptDiscrepancy("gone_here", "1", "1", "000000412", None, params)
        return reconcile.line(one, spoken)

    assert "at Kiva: paying back" in said("payingBack", EN)
    assert "chez Kiva : en remboursement" in said("payingBack", FR)
    assert "en Kiva: en reembolso" in said("payingBack", ES)
    assert "en Kiva: «newStatus»" in said("newStatus", ES), "Kiva's own words are quoted"
    assert "« photo <b> »" in said("ended", FR)
    assert set(mirror.PUBLISHED) | set(mirror.GONE) | set(mirror.EXPECTED) <= set(reconcile.STATUSES)


def test_who_did_it_is_told_without_where() -> None:
    assert act.who(act.on_page("awa")) == "awa"
    assert act.who("awa") == "awa"
