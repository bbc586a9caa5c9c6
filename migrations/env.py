"""Alembic's way in: the relay hands over a connection with its writing transaction already open."""

from alembic import context

from kiva_relay.outbox import table

context.configure(connection=context.config.attributes["connection"], target_metadata=table.metadata)
with context.begin_transaction():
    context.run_migrations()
