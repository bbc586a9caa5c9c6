"""What settings are made of: single ones, and groups of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(
    default: Any = ...,
    *,
    does: str,
    where: str = "",
    example: str = "",
    filled: bool = False,
    hidden: bool = False,
) -> Any:
    """One setting.

    Args:
        default: its value when nobody sets it; none makes it required.
        does: what it does, in plain English.
        where: where a person finds the right value; shown beside a wrong one.
        example: how it may be written, as YAML, where the default does not show it.
        filled: without a value it is filled from other settings, by a validator.
        hidden: it may hold a password, so it is left out when settings are printed.
    """
    return Field(
        default,
        description=does,
        json_schema_extra={"where": where, "example": example},
        validate_default=filled,
        repr=not hidden,
    )


def section(kind: type[BaseModel], *, required: bool = False) -> Any:
    """A group of settings, described by its docstring; `required` when one of its settings is."""
    description = (kind.__doc__ or "").partition("\n")[0]
    if required:
        return Field(description=description)
    # Nothing, to be read like what is written: the group itself would need a validator of its own.
    return Field(default_factory=dict, validate_default=True, description=description)


class Section(BaseModel):
    """Some settings that belong together. Only what is read by itself gets a validator: it takes long to make."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
