from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from kiva_relay import meter

NAMES = {
    "account{resource,line}",
    "attempts_open",
    "changes_captured_total{stream}",
    "config_reload_failures_total",
    "deliveries_total{resource,outcome}",
    "entries{resource,state}",
    "expected{resource}",
    "held{what,reason}",
    "in_doubt{resource}",
    "info{version,environment,partner}",
    "job_duration_seconds{job}",
    "job_errors_total{job}",
    "job_last_run_timestamp_seconds{job}",
    "lag_seconds{stream}",
    "last_success_timestamp_seconds{resource}",
    "loop_turns_total{loop,ended}",
    "mail_attempts_total{outcome}",
    "mail_last_success_timestamp_seconds",
    "mail_waiting",
    "mapping_refusals_total{mapping,code}",
    "mirror_age_seconds",
    "mis_horizon_age_seconds",
    "mis_pinned_seconds{session}",
    "mis_query_seconds_total",
    "replication_harms",
    "replication_kept_bytes",
    "replication_live",
    "reconcile{kind}",
    "report_closes_timestamp_seconds{period}",
    "sweep_found_total{stream,what}",
    "stream_stopped{stream}",
}


def test_names_and_labels_are_what_rules_and_dashboards_know() -> None:
    known = set()
    for collector in list(meter.registry._collector_to_names):
        (metric,) = collector.collect()
        labels = ",".join(getattr(collector, "_labelnames", ()))
        name = metric.name.removeprefix("kiva_relay_") + ("_total" if metric.type == "counter" else "")
        known.add(f"{name}{{{labels}}}" if labels else name)
    assert known == NAMES


def test_every_metric_says_what_it_means_and_none_brings_a_second_series() -> None:
    meter.changes_captured.labels("test").inc(0)
    page = generate_latest(meter.registry).decode()
    assert len(re.findall(r"^# HELP kiva_relay_\w+ \S.*\.$", page, re.MULTILINE)) == len(NAMES)
    assert "_created" not in page


def test_what_was_never_set_does_not_read_0() -> None:
    fresh = CollectorRegistry()
    gauge = meter.KnownGauge("age", "Some age.", registry=fresh)
    assert fresh.get_sample_value("age") is None
    gauge.set(0)
    assert fresh.get_sample_value("age") == 0
    plain = [one for one in meter.registry._collector_to_names if type(one) is Gauge and not one._labelnames]
    assert plain == [], "each gauge without labels is one that may be unknown"


def test_a_gauge_shows_exactly_what_it_is_given() -> None:
    meter.replace(meter.entries, {("loan_draft", "ready"): 3, ("loan_draft", "in_doubt"): 1})
    meter.replace(meter.entries, {("loan_draft", "ready"): 2, ("repayment", "ready"): 5})
    (metric,) = meter.entries.collect()
    assert {tuple(sample.labels.values()): sample.value for sample in metric.samples} == {
        ("loan_draft", "ready"): 2,
        ("repayment", "ready"): 5,
    }
    meter.replace(meter.entries, {})
    (metric,) = meter.entries.collect()
    assert not metric.samples
