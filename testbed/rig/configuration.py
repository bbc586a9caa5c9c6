"""A configuration that is right, for tests to take as it is or to spoil."""

from __future__ import annotations

import textwrap
from pathlib import Path

from kiva_relay.config.settings import Settings
from kiva_relay.mapping import document
from kiva_relay.mapping.document import Document

WRITTEN = """\
kiva:
  environment: sandbox
  partner_id: 123
  client_id: abc
  client_secret: {env: KIVA_SECRET}
mis:
  url: postgresql://kiva_relay@localhost/fineract_default
  timezone: Africa/Dakar
mappings: fineract
loan_drafts: {since: first_start}
journals: {since: 2026-11-01}
"""


def write(folder: Path, *more: str, text: str = WRITTEN) -> Path:
    """Write config.yaml: `text`, and further lines below it."""
    file = folder / "config.yaml"
    file.write_text(text + "".join(textwrap.dedent(lines).lstrip("\n") for lines in more), encoding="utf-8")
    file.chmod(0o640)
    return file


def documents(settings: Settings) -> list[Document]:
    """The mappings that a configuration names."""
    return document.load(settings.mapping_folders, parameters=settings.parameters, resources=settings.resources)
