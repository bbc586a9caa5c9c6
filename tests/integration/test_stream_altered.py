"""Somebody alters a table whose changes the stream tells, or how it is published: what went untold is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kiva_relay.source.route import Routed
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed, Turned

TURNED_INTO_PARTITIONS = """
ALTER TABLE loan RENAME TO plain;
CREATE TABLE loan (LIKE plain INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE loan_1 PARTITION OF loan FOR VALUES FROM (0) TO (1000);
INSERT INTO loan SELECT * FROM plain;
CREATE TABLE loan_2 (LIKE loan INCLUDING ALL);
INSERT INTO loan_2 (id, account, client, amount) VALUES (1500, 'L1500', 'C1500', 100);
INSERT INTO instalment (loan_id, due, principal) VALUES (1500, date '2030-01-25', 100)
"""
ANOTHER_TABLE = """
CREATE TABLE loan_new (LIKE loan INCLUDING ALL);
INSERT INTO loan_new SELECT * FROM loan;
UPDATE loan_new SET first_name = 'Zoe' WHERE id = 1;
DELETE FROM loan_new WHERE id = 2
"""
ATTACH = "ALTER TABLE loan ATTACH PARTITION loan_2 FOR VALUES FROM (1000) TO (2000)"


def run(mis: Streamed, script: str) -> None:
    for statement in script.split(";"):
        mis.sql(statement)


def seen(relay: Turned, is_so: Callable[[], object]) -> None:
    """It is seen by looks and by the stream, without a sweep that somebody asked for; and then it is followed again."""

    def looked() -> bool:
        relay.capture.cycle()
        relay.capture.follow()
        return bool(is_so())

    eventually(looked)
    relay.following()


def test_what_was_deleted_while_a_table_was_not_published(streamed_mis: Streamed) -> None:
    mis = streamed_mis
    mis.set_up()
    with mis.capture() as relay:
        relay.following()
        run(
            mis,
            f"ALTER PUBLICATION {mis.name} DROP TABLE loan; DELETE FROM loan WHERE id = 2;"
            f"UPDATE loan SET first_name = 'Zoe' WHERE id = 1; ALTER PUBLICATION {mis.name} ADD TABLE loan",
        )
        seen(relay, lambda: relay.state("L2") == "withdrawn" and relay.name("L1") == "Zoe")


def test_what_was_deleted_while_the_identity_did_not_tell_whose_it_was(streamed_mis: Streamed) -> None:
    mis = streamed_mis
    mis.sql("INSERT INTO instalment (loan_id, due, principal, interest) VALUES (1, date '2030-02-25', 0, 7)")
    mis.set_up()
    with mis.capture() as relay:
        relay.following()
        assert relay.interest("L1") == [0, 7]
        run(
            mis,
            "ALTER TABLE instalment REPLICA IDENTITY DEFAULT; DELETE FROM instalment WHERE interest = 7;"
            "ALTER TABLE instalment REPLICA IDENTITY FULL",
        )
        seen(relay, lambda: relay.interest("L1") == [0])


@pytest.mark.parametrize("is_away", [False, True])
def test_a_partition_that_is_attached_and_detached(streamed_mis: Streamed, *, is_away: bool) -> None:
    mis = streamed_mis
    run(mis, TURNED_INTO_PARTITIONS)
    mis.set_up()
    with mis.capture() as relay:
        relay.following()
        assert relay.state("L1") == "ready"
        assert not relay.body("L1500")
        if not is_away:
            mis.sql(ATTACH)
            seen(relay, lambda: relay.body("L1500"))
            mis.sql("ALTER TABLE loan DETACH PARTITION loan_2")
            seen(relay, lambda: relay.state("L1500") == "withdrawn")
    if is_away:
        mis.sql(ATTACH)
        with mis.capture() as relay:
            seen(relay, lambda: relay.body("L1500"))


def test_a_table_in_the_place_of_another(streamed_mis: Streamed) -> None:
    mis = streamed_mis
    run(mis, ANOTHER_TABLE)
    mis.set_up()
    with mis.capture() as relay:
        relay.following()
        assert relay.name("L1") == "Awa"
        mis.sql("DO $$ BEGIN ALTER TABLE loan RENAME TO loan_old; ALTER TABLE loan_new RENAME TO loan; END $$")

        def looked() -> bool:
            relay.capture.cycle()
            relay.capture.follow()
            return relay.name("L1") == "Zoe" and relay.state("L2") == "withdrawn"

        eventually(looked)
        mis.set_up()
        relay.following()
        mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 3")
        assert relay.followed() == 1


def test_a_key_that_is_kept_apart_from_its_row_is_told_also_when_it_does_not_change(streamed_mis: Streamed) -> None:
    """PostgreSQL moves long values out of a wide row, keys too, and does not write them again when they stay."""
    mis = streamed_mis
    columns, key = [f"c{number}" for number in range(80)], "k" * 200
    run(
        mis,
        f"CREATE TABLE wide (id text PRIMARY KEY, {', '.join(f'{name} text' for name in columns)});"
        "ALTER TABLE wide ALTER id SET STORAGE EXTERNAL;"
        f"INSERT INTO wide SELECT '{key}', {', '.join('md5(random()::text)' for _ in columns)};"
        f"ALTER TABLE loan ADD COLUMN wide_key text; UPDATE loan SET wide_key = '{key}' WHERE id = 1",
    )
    file = mis.folder / "mappings" / "loan_draft.yaml"
    where = "where: status = 'approved'"
    touched = f"{where}, touched_by: [{{table: wide, match: {{id: wide_key}}}}]"
    file.write_text(file.read_text(encoding="utf-8").replace(where, touched), encoding="utf-8")
    mis.set_up()
    with mis.capture() as relay:
        relay.following()
        routed: list[Routed] = []
        follow = relay.mis.follow

        def noted(*given: Any, **more: Any) -> Routed:
            routed.append(follow(*given, **more))
            return routed[-1]

        relay.mis.follow = noted  # type: ignore[method-assign]
        mis.sql("UPDATE wide SET c1 = 'x'")
        eventually(lambda: relay.capture.follow() or any(one.done for one in routed))
        assert {key for one in routed for key in one.keys.get("loan_draft", ())} == {"1"}
