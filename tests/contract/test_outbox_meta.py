"""Facts about the outbox itself: each has one type, and what is stored is read back as that or refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.config import loader, shipped
from kiva_relay.outbox import binding, meta, table
from kiva_relay.outbox.database import Outbox
from testbed.rig import configuration
from testbed.rig.outboxes import NOW

FACTS: list[tuple[meta.Fact[Any], Any, str | None]] = [
    (meta.OUTBOX_ID, "a41f", "a41f"),
    (meta.API_URL, "https://api", "https://api"),
    (meta.PARTNER_ID, "7", "7"),
    (meta.MIS, "postgresql://x", "postgresql://x"),
    (meta.FIRST_START, NOW, "2026-11-23T09:00:00+00:00"),
    (meta.WITNESSES, meta.WitnessesKnown("w", {"file": "w", "host": "v"}, 3), None),
    (meta.ATTEMPTS_KNOWN, {"a41f": 17}, '{"a41f":17}'),
    (meta.REPORT, "2026-11 open", "2026-11 open"),
    (meta.TIMELINE, "2", "2"),
    (meta.ALIASES, {"typed": "000000871"}, '{"typed":"000000871"}'),
    (meta.SLOT_POSITION, meta.SlotPosition("kiva", 2**63 - 1), f'{{"slot":"kiva","place":{2**63 - 1}}}'),
    (meta.mapping_text("journal"), "mapping: 1\n", "mapping: 1\n"),
    (meta.mapping_fingerprint("journal"), "1:abc", "1:abc"),
    (meta.mapping_approved("journal"), "1:abd", "1:abd"),
    (meta.mapping_revision("journal"), meta.Revision(newest=8, waiting=2, period="2026-11", at=NOW), None),
    (meta.habits("journal"), {"new": {"of": 3, "filled": {"a": 2}, "last": {"8": ["a"]}}}, None),
    (meta.TURNS, ["journal", "repayment"], '["journal","repayment"]'),
    (meta.RELOAD_WANTED, "now", "now"),
    (meta.RELOAD_RESULT, meta.ReloadResult(NOW, ok=True, text="in force", asked="now"), None),
]


def test_every_fact_is_read_back_and_forgotten(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        for fact, value, _stored in FACTS:
            assert fact.get(tx) is None, fact.name
            fact.put(tx, value)
            fact.put(tx, value)
        for fact, value, stored in FACTS:
            assert fact.get(tx) == value, fact.name
            found = tx.execute(sa.select(table.meta.c.value).where(table.meta.c.name == fact.name)).scalar_one()
            assert stored in (None, found)
        for fact, _value, _stored in FACTS:
            fact.remove(tx)
            assert fact.get(tx) is None
        meta.WORD_LEFT.remove(tx)  # it tells a relay that another process wrote
        assert tx.execute(sa.select(sa.func.count()).select_from(table.meta)).scalar_one() == 0


def test_several_facts_are_asked_for_at_once(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "2026-11 open")
        meta.ALIASES.put(tx, {"typed": "871"})
        meta.TIMELINE.put(tx, "2")
    asked: list[str] = []
    sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with outbox.read() as tx:
        known = meta.known(tx, meta.REPORT, meta.ALIASES, meta.EXPECTED)
    assert len([sql for sql in asked if sql.startswith("SELECT")]) == 1
    assert (known.of(meta.REPORT), known.of(meta.ALIASES)) == ("2026-11 open", {"typed": "871"})
    assert known.of(meta.EXPECTED) is None
    with outbox.begin() as tx:
        tx.execute(sa.update(table.meta).where(table.meta.c.name == meta.ALIASES.name).values(value="7"))
        known = meta.known(tx, meta.ALIASES)
    with pytest.raises(errors.OutboxRefused, match="loan ids"):
        known.of(meta.ALIASES)


def test_names_differ(outbox: Outbox) -> None:
    assert outbox is not None
    names = [fact.name for fact, _value, _stored in FACTS]
    assert len(set(names)) == len(names)
    assert meta.mapping_text("a").name != meta.mapping_text("b").name


def test_a_moment_keeps_its_instant(outbox: Outbox) -> None:
    there = datetime(2026, 3, 1, 8, 30, 0, 5, tzinfo=timezone(timedelta(hours=3)))
    with outbox.begin() as tx:
        meta.FIRST_START.put(tx, there)
        assert meta.FIRST_START.get(tx) == there == datetime(2026, 3, 1, 5, 30, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fact", "stored"),
    [
        (meta.FIRST_START, "yesterday"),
        (meta.SLOT_POSITION, "{"),
        (meta.SLOT_POSITION, '{"slot":"kiva"}'),
        (meta.mapping_revision("journal"), '{"newest":"many","waiting":2,"period":"","at":"2026-11-23T09:00:00Z"}'),
        (meta.ATTEMPTS_KNOWN, "[]"),
    ],
)
def test_what_is_not_of_its_type_is_refused(outbox: Outbox, fact: meta.Fact[Any], stored: str) -> None:
    with outbox.begin() as tx:
        tx.execute(sa.insert(table.meta).values(name=fact.name, value=stored))
    with outbox.read() as tx, pytest.raises(errors.OutboxRefused, match=re.escape(fact.name)):
        fact.get(tx)


def test_an_outbox_is_bound_once(outbox: Outbox, tmp_path: Path) -> None:
    settings = loader.load(configuration.write(tmp_path), environ={"KIVA_SECRET": "s"})
    other_partner = settings.model_copy(update={"kiva": settings.kiva.model_copy(update={"partner_id": "8"})})
    with outbox.begin() as tx:
        binding.check_destination(tx, other_partner)
        binding.bind_destination(tx, settings)
        number = meta.OUTBOX_ID.get(tx)
        binding.bind_destination(tx, settings)
        assert meta.OUTBOX_ID.get(tx) == number
        assert number is not None
        assert re.fullmatch(r"[0-9a-f]{16}", number)
        binding.check_destination(tx, settings)
        with pytest.raises(errors.OutboxRefused, match=r"kiva\.partner_id"):
            binding.check_destination(tx, other_partner)
        with pytest.raises(errors.OutboxRefused, match=r"kiva\.partner_id"):
            binding.bind_destination(tx, other_partner)


def test_an_outbox_belongs_to_one_mis_until_a_person_says_otherwise(outbox: Outbox, tmp_path: Path) -> None:
    settings = loader.load(configuration.write(tmp_path), environ={"KIVA_SECRET": "s"})
    with outbox.begin() as tx:
        binding.bind_mis(tx, "here#1", settings)
        binding.bind_mis(tx, "here#2", settings)
        assert meta.MIS.get(tx) == "here"
        with pytest.raises(errors.OutboxRefused, match=r"mis\.url") as refused:
            binding.bind_mis(tx, "there#1", settings)
        assert "watermark set" in (refused.value.hint or "")
        assert binding.rebind_mis(tx, "there#1") == "here"
        assert binding.rebind_mis(tx, "there#3") is None
        binding.bind_mis(tx, "there#2", settings)


def test_no_caller_names_a_fact_by_a_free_string() -> None:
    package = shipped.folder("migrations").parent / "daemon" / "kiva_relay"
    free = re.compile(r"table\.meta\b")
    users = [file.name for file in package.rglob("*.py") if free.search(file.read_text())]
    assert users == ["meta.py"]
