"""A partner's program at its simplest: calls the Partner API by plain HTTP."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Self

import httpx

from testbed.rig import patience

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

SCOPES = "read:loans create:loan_draft create:journal_update create:repayment"


class Caller:
    """Holds a connection and a token."""

    def __init__(self, url: str, *, partner: str = "123", timeout: float | None = None) -> None:
        self.partner = partner
        # Reading the machine's certificates takes longer than most tests, and nothing here is encrypted.
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.http = httpx.Client(
            base_url=url, timeout=timeout or patience.seconds(10), trust_env=False, verify=no_certificates
        )
        self.use_token(self.token()["access_token"])

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def token(self, **fields: str) -> dict[str, Any]:
        answer = self.ask_token(**fields)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def ask_token(self, **fields: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "scope": SCOPES,
            "audience": "kiva-sandbox",
            "client_id": "client",
            "client_secret": "secret",
        }
        return self.http.post("/oauth/token", data=form | fields)

    def use_token(self, name: str) -> None:
        self.http.headers["authorization"] = f"Bearer {name}"

    def draft(self, loan_id: str, **fields: Any) -> httpx.Response:
        return self.post("loan_draft", draft_body(loan_id, **fields))

    def report(self, *rows: Mapping[str, Any]) -> httpx.Response:
        return self.post("repayments", {"repayments": list(rows)})

    def post(self, what: str, document: object) -> httpx.Response:
        return self.http.post(f"/v3/partner/{self.partner}/{what}", json=document)

    def loans(self, status: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(f"/v3/partner/{self.partner}/loans", params={"status": status, **query})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def draft_body(loan_id: str, **fields: Any) -> dict[str, Any]:
    person = {
        "client_id": f"C-{loan_id}",
        "loan_id": loan_id,
        "first_name": "Aïssatou",
        "last_name": "Ndiaye",
        "gender": "female",
        "amount": 150000,
    }
    return {"entreps": [person], "currency": "XOF", "location": "Thiès: Senegal", **fields}
