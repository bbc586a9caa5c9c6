"""Compares what the MIS owes, what the outbox says, and what Kiva holds."""
