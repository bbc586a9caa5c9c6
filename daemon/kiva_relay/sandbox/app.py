"""The stand-in as an ASGI application: Kiva's paths, and the sandbox's own beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from kiva_relay.sandbox.control_api import ControlApi
from kiva_relay.sandbox.exchange import Exchange

if TYPE_CHECKING:
    from kiva_relay.sandbox.state import SandboxState

_CALLS = (
    ("POST", "/oauth/token", "token"),
    ("POST", "/v3/partner/{partner}/loan_draft", "loan_draft"),
    ("POST", "/v3/partner/{partner}/repayments", "repayments"),
    # Kiva's prose and its sample disagree about the spelling.
    ("POST", "/v3/partner/{partner}/journals", "journals"),
    ("POST", "/v3/partners/{partner}/journals", "journals"),
    ("GET", "/v3/partner/{partner}/loans", "loans"),
    ("GET", "/v3/partner/{partner}/config/{name}", "config"),
)


def create(state: SandboxState) -> Starlette:
    """The application. It needs `wire.Protocol` below it to be able to end connections."""
    kiva = [Route(path, Exchange(state, on), methods=[method]) for method, path, on in _CALLS]
    # Last, so that a call to a path that does not exist is in the request log too.
    anything = Route("/{path:path}", Exchange(state, "other"))
    return Starlette(routes=[*ControlApi(state).routes(), *kiva, anything])
