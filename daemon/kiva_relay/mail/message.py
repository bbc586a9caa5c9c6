"""A mail as it travels: headers, a text and the same as HTML. Nothing foreign can become a header."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from kiva_relay.words import unbroken
from kiva_relay.words.letter import LetterStyle, LetterText

_NAME = "kiva-relay"
_LINK = re.compile(r"https?://[^\s<>\"']+")
_DIRECTION = 'style="font:16px/1.45 sans-serif;color:#1a1a1a;background:#fff;max-width:44em;margin:0 auto;padding:1em"'
_OPEN = {
    LetterStyle.PLACE: '<p style="color:#555;margin:0 0 1em">',
    LetterStyle.HEADING: '<h2 style="font-size:1em;margin:1.4em 0 .4em">',
    LetterStyle.TASK: '<p style="font-weight:bold;margin:1em 0 .2em">',
    LetterStyle.LINE: '<p style="margin:.1em 0 .1em 1.4em;white-space:pre-wrap">',
    LetterStyle.TEXT: '<p style="margin:1em 0 0">',
}
_MARGIN = {LetterStyle.TASK: " ", LetterStyle.LINE: "    "}


def message(letter: LetterText, *, sender: str, to: str, message_id: str, now: datetime) -> EmailMessage:
    """The mail. `message_id` has its angle brackets, and is the same whenever it is sent again.

    Raises:
        ValueError: something would break out of its header.
    """
    made = EmailMessage(policy=policy.SMTP)
    made["From"] = Address(_NAME, addr_spec=sender)
    made["To"] = Address(addr_spec=to)
    made["Subject"] = letter.subject
    made["Date"] = format_datetime(now)
    made["Message-ID"] = message_id
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: so that nobody's absence is answered
    made.set_content(text(letter), cte="quoted-printable")
    made.add_alternative(as_html(letter), subtype="html", cte="quoted-printable")
    made["Content-Language"] = letter.language  # last: what is set before moves into the text
    return made


def new_id(sender: str) -> str:
    """A Message-ID that nobody else has, in the sender's domain."""
    return f"<{secrets.token_hex(16)}@{sender.rpartition('@')[2]}>"


def text(letter: LetterText) -> str:
    """The lines as they are, a blank one before each heading and each paragraph."""
    told: list[str] = []
    for style, line in letter.lines:
        if told and style in (LetterStyle.HEADING, LetterStyle.TEXT):
            told.append("")
        told.append(f"{_MARGIN.get(style, '')}{line}")
    return "\n".join(told) + "\n"


def as_html(letter: LetterText) -> str:
    """The same for a browser: nothing from elsewhere, nothing that runs, links only where the text has one."""
    head = f'<!doctype html><html lang="{letter.language}"><head><meta charset="utf-8">'
    title = f'<meta name="viewport" content="width=device-width"><title>{html.escape(letter.subject)}</title></head>'
    return f"{head}{title}<body {_DIRECTION}>{''.join(_paragraphs(letter))}</body></html>\n"


def _paragraphs(letter: LetterText) -> Iterator[str]:
    for style, line in letter.lines:
        opens = _OPEN[style]
        yield f"{opens}{_linked(unbroken.text(line))}</{opens[1:].split(' ', 1)[0]}>\n"


def _linked(line: str) -> str:
    found, last = [], 0
    for link in _LINK.finditer(line):
        url = link.group().rstrip(".,;:)»”")
        found += [html.escape(line[last : link.start()]), f'<a href="{html.escape(url)}">{html.escape(url)}</a>']
        last = link.start() + len(url)
    return "".join([*found, html.escape(line[last:])])
