"""What all tables of the outbox share: names of constraints, the type of a number that counts up, partial indexes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

metadata = sa.MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


@compiles(sa.schema.CreateIndex)
def _with_its_condition(create: sa.schema.CreateIndex, compiler: Any, **how: Any) -> str:
    """A partial index, on both databases. SQLAlchemy's own arguments for it load all that it has for PostgreSQL."""
    where = create.element.info.get("where")
    made: str = compiler.visit_create_index(create, **how)
    return made if where is None else f"{made} WHERE {where}"
