"""What the comparison counts and writes; that it measures is tried by tests/acceptance/test_bench.py."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import environment, faults, page, plot, slow_wire
from benchmarks.contender import SCRIPTS
from benchmarks.figure import COURIER, DURABLE, OURS, Figures
from benchmarks.sink import Plan, Sink
from testbed.rig import patience

ROOT = Path(__file__).resolve().parents[2]


def figures(duplicates: int = 0, lost: int = 0) -> Figures:
    found = Figures()
    found.about |= {"day": "2026-11-28", "cores": 2, "processor": "x", "memory_gb": 24, "disk": "ext4"}
    found.about |= {"python": "3.11.7", "load_before": 0.1, "loans": 20_000, "peers": {"dlt": "1.31.0"}}
    for value in (60.0, 70.0, 80.0):
        more: dict[str, Any] = {"unit": "a second", "cpu": 5.0, "duplicates": duplicates, "lost": lost}
        found.add("drafts", "0 ms", COURIER, value=value, **more)
        found.add("drafts", "0 ms", DURABLE, value=100.0, **more)
        found.add("drafts", "0 ms", OURS, value=value / 2, **more)
    for case in (faults.LOST, faults.KILLED):
        found.add(faults.PART, case, OURS, unit="seconds", value=9.0, duplicates=0, lost=0, sent=2_000, in_doubt=3)
        found.add(faults.PART, case, "dlt", unit="seconds", value=9.0, duplicates=26, lost=0, sent=2_000)
    return found


def draft(loan: str) -> bytes:
    return json.dumps({"entreps": [{"loan_id": loan}]}).encode()


def test_the_sink_counts_before_it_answers_and_loses_by_plan() -> None:
    sink = Sink()
    sink.plan = Plan(lose={2})
    path = "/v3/partner/123/loan_draft"
    said = [sink.answer("POST", path, draft(loan))[0] is not None for loan in ("1", "2", "2")]
    assert said == [True, False, True]
    counted = sink.ledger.document(arrivals=False)
    assert (counted["calls"], counted["distinct"], counted["duplicates"]) == (3, 2, 1)


def test_one_of_each_hundred_answers_is_lost_and_never_two_in_a_row() -> None:
    lost = sorted(faults.lost_calls(4_000))
    assert [sum(each // 100 == block for each in lost) for block in range(40)] == [1] * 40
    assert min(later - sooner for sooner, later in itertools.pairwise(lost)) > 3
    assert faults.lost_calls(200) <= set(lost)


def test_a_call_of_positions_is_one_call_with_many_loans() -> None:
    sink = Sink()
    body = json.dumps({"repayments": [{"loan_id": f"{each}", "amount": 1} for each in range(250)]}).encode()
    answer, _ = sink.answer("POST", "/v3/partner/123/repayments", body)
    assert answer is not None
    assert (sink.ledger.calls, len(sink.ledger.times)) == (1, 250)


def test_what_is_expected_is_listed_whole_and_by_the_page() -> None:
    sink = Sink()
    sink.plan.expected = 301
    pages = [sink.answer("GET", f"/x/loans?status=payingBack&offset={at}&limit=300", b"")[0] for at in (0, 300)]
    assert [len(one["data"]) for one in pages if one] == [300, 1]
    assert [one["total_records"] for one in pages if one] == [301, 301]
    other, _ = sink.answer("GET", "/x/loans?status=ended&offset=0&limit=300", b"")
    assert other == {"total_records": 0, "data": []}


@pytest.mark.parametrize(("duplicates", "lost", "wrong"), [(0, 0, 0), (1, 0, 2), (0, 1, 2)])
def test_only_what_is_ours_and_wrong_is_wrong(duplicates: int, lost: int, wrong: int) -> None:
    assert len(figures(duplicates, lost).wrong()) == wrong


def test_figures_are_read_as_they_were_written() -> None:
    found = Figures.read(json.loads(json.dumps(figures().document())))
    assert [*found] == [*figures()]
    one = found.find("drafts", "0 ms", COURIER)
    assert one is not None
    assert (one.middle, one.spread) == (70.0, "60.0-80.0")


def test_the_tables_have_the_correctness_beside_the_figures() -> None:
    table = page.of_drafts(figures())
    assert [line.split("|")[-4:-1] for line in table.splitlines()[2:4]] == [[" 0 / 0 ", " 0 / 0 ", " 0 / 0 "]] * 2
    assert "| 0.70 | 0.60-0.80 | 0.7 |" in page.ratios(figures())
    assert "3 + 3" in page.of_faults(figures())


def test_the_page_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (tmp_path / "benchmarks.md").write_text(text, encoding="utf-8")
    page.write(tmp_path, figures())
    written = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert page._PART.sub(r"\1\3", written) == page._PART.sub(r"\1\3", text)
    assert {match[2] for match in page._PART.finditer(text)} == set(page.PARTS)
    assert "2 cores" in written
    assert str(Path.home()) not in written
    drawn = {file.stem for file in (tmp_path / "plots").glob("*.svg")}
    linked = set(re.findall(r"plots/([\w-]+)\.svg", written))
    assert {"faults", "drafts"} <= linked <= drawn


def test_a_plot_is_an_image_with_a_bar_for_each() -> None:
    rows = [plot.Bar("ours & others", 3.0, "3.00", "ours"), plot.Bar("<limit>", 0.0, "0.00", "limit")]
    root = ET.fromstring(plot.bars("A title", rows))
    assert len([one for one in root if one.tag.endswith("rect")]) == 1 + len(rows)


@pytest.mark.parametrize("name", environment.NAMES)
def test_each_peer_has_a_script_and_pinned_packages(name: str) -> None:
    assert (ROOT / "benchmarks" / "peers" / SCRIPTS[name]).exists()
    lock = (ROOT / "benchmarks" / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    pinned = [line for line in lock.splitlines() if "==" in line]
    assert pinned
    assert "://" not in lock
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert environment._version(ROOT / "benchmarks" / "requirements" / f"{name}.lock", name)


def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIVA_RELAY_PEERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sudo apt install openjdk-17-jre-headless" in environment.of.__wrapped__("debezium").missing
    assert environment.of.__wrapped__("dlt", make=False).missing == "not made yet: make bench makes it"


def test_a_slow_wire_carries_all_of_it_later() -> None:
    sent, one_way = b"x" * 300_000, 0.02

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))
        writer.close()

    async def asked() -> tuple[bytes, float]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        wire = await slow_wire.between(server.sockets[0].getsockname()[1], one_way=one_way)
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.sockets[0].getsockname()[1])
        writer.write(sent)
        came = await reader.read(-1)
        took = asyncio.get_running_loop().time() - began
        writer.close()
        for each in (wire, server):
            each.close()
            await each.wait_closed()
        rest = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=patience.seconds(10))
        return came, took

    came, took = asyncio.run(asked())
    assert came == sent
    assert took >= 4 * one_way  # the connection, there, and back
