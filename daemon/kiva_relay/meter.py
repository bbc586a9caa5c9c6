"""What the relay counts, for Prometheus: every metric, its labels and what it means.

Names begin with `kiva_relay_`, units are seconds, and labels take few values: never an id of what is sent.
Whose relay it is stands in `info` alone, and Prometheus joins it by the instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, that no rule of ours reads

registry = CollectorRegistry(auto_describe=True)


class KnownGauge(Gauge):
    """A gauge without labels that shows nothing until it is set: what nobody knows must not read 0."""

    _is_known = False

    def set(self, value: float) -> None:
        """Show this value from now on."""
        self._is_known = True
        super().set(value)

    def collect(self) -> Iterable[Metric]:
        """The metric, without a sample while its value is not known."""
        for metric in super().collect():
            if not self._is_known:
                metric.samples = []
            yield metric


def _counter(name: str, means: str, *labels: str) -> Counter:
    return Counter(name, means, labels, namespace="kiva_relay", registry=registry)


def _gauge(name: str, means: str, *labels: str) -> Gauge:
    kind = Gauge if labels else KnownGauge
    return kind(name, means, labels, namespace="kiva_relay", registry=registry)


changes_captured = _counter("changes_captured", "Changes of the MIS that were committed to the outbox.", "stream")
lag_seconds = _gauge("lag_seconds", "How far the reading of a stream is behind the MIS.", "stream")
stream_stopped = _gauge("stream_stopped", "1 while a mapping does not fit the MIS and is not read.", "stream")
mis_horizon_age_seconds = _gauge("mis_horizon_age_seconds", "How far back open transactions of the MIS reach.")
replication_live = _gauge("replication_live", "1 while changes come by the MIS's stream; 0 where they are polled.")
replication_kept_bytes = _gauge("replication_kept_bytes", "What the MIS keeps on its disk for the slot.")
replication_harms = _gauge(
    "replication_harms", "Tables of the publication on which the MIS's own UPDATE and DELETE fail; always 0."
)
mis_pinned = _gauge("mis_pinned_seconds", "Age of a transaction of the MIS that is open for long.", "session")
mis_query_seconds = _counter("mis_query_seconds", "Time that the MIS spent on our queries.")
sweep_found = _counter(
    "sweep_found", "Rows that no poll had shown (missed), or that left the scope unseen (gone).", "stream", "what"
)
mapping_refusals = _counter("mapping_refusals", "Bodies that a mapping or a check refused.", "mapping", "code")

expected = _gauge("expected", "Things that should be at Kiva; the sum of the account's lines.", "resource")
account = _gauge("account", "Things that should be at Kiva, by their line of the account.", "resource", "line")
entries = _gauge("entries", "Entries of the outbox in a state that is not final.", "resource", "state")
in_doubt = _gauge("in_doubt", "Entries of which nobody knows whether Kiva has them.", "resource")
held = _gauge("held", "1 while something is held and waits for a person.", "what", "reason")
attempts_open = _gauge("attempts_open", "Attempts that were begun and have no outcome yet.")

deliveries = _counter("deliveries", "Entries whose attempt ended, by its outcome.", "resource", "outcome")
last_success = _gauge("last_success_timestamp_seconds", "When Kiva last accepted something.", "resource")
mirror_age_seconds = _gauge(
    "mirror_age_seconds", "Age of the last complete reading of what Kiva lists, else of the process."
)
reconcile = _gauge("reconcile", "Loans of which MIS, outbox and Kiva say different things, by what differs.", "kind")
report_closes = _gauge("report_closes_timestamp_seconds", "When the report that is open closes.", "period")

mail_attempts = _counter(
    "mail_attempts",
    "Attempts to send a mail: sent, refused for its address, failed; or missed, for it was late.",
    "outcome",
)
mail_waiting = _gauge("mail_waiting", "Mails that the server did not take yet.")
mail_last_success = _gauge("mail_last_success_timestamp_seconds", "When the mail server last took a mail.")

job_last_run = _gauge("job_last_run_timestamp_seconds", "When the work of a job last ended, well or not.", "job")
job_duration = _gauge("job_duration_seconds", "How long the work of a job took, the last time.", "job")
job_errors = _counter("job_errors", "Runs of a job that ended with an error.", "job")

loop_turns = _counter(
    "loop_turns",
    "Turns of a thread: they ended well, by an error that nobody foresaw, or as the outbox was away.",
    "loop",
    "ended",
)
config_reload_failures = _counter("config_reload_failures", "Reloads refused because a file held mistakes.")
info = _gauge(
    "info",
    "1; the version that runs, the environment of Kiva it points to, and the partner (kiva.partner_id).",
    "version",
    "environment",
    "partner",
)


def replace(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Let a gauge show exactly `values`, by the values of its labels; what is no longer there disappears."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    shown = {tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples}
    for labels in shown - set(values):
        gauge.remove(*labels)
