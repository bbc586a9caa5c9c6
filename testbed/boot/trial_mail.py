"""A mail server that takes everything, and keeps each mail as a file. Runs in the booted root, beside what it needs.

python3 trial_mail.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

PORT = 2525


def keep(folder: Path, mail: bytes) -> None:
    """Write a mail into a file of its own."""
    number = len(list(folder.iterdir())) + 1
    (folder / f"{number:03}.eml").write_bytes(mail)


async def serve(folder: Path) -> None:
    """Until it is ended."""
    from aiosmtpd.smtp import SMTP, Envelope, Session  # noqa: PLC0415 - lies beside this file in the booted root alone

    class Kept:
        async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
            content = envelope.content
            assert isinstance(content, bytes)
            to = ", ".join(envelope.rcpt_tos)
            keep(folder, f"X-Rcpt-To: {to}\r\n".encode() + content)
            return "250 kept"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Kept(), enable_SMTPUTF8=True, loop=loop), "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
