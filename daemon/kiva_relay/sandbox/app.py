"""The stand-in as an ASGI application: Kiva's paths, and beside them a look at what it accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from kiva_relay.sandbox.exchange import Exchange
from kiva_relay.sandbox.view import View

if TYPE_CHECKING:
    from kiva_relay.sandbox.state import SandboxState

# Method, path, and the call as `partner_api.HANDLERS` names it.
CALLS = (
    ("POST", "/oauth/token", "token"),
    ("POST", "/v3/partner/{partner}/loan_draft", "loan_draft"),
    ("POST", "/v3/partner/{partner}/repayments", "repayments"),
    # Kiva's prose and its sample disagree about the spelling.
    ("POST", "/v3/partner/{partner}/journals", "journals"),
    ("POST", "/v3/partners/{partner}/journals", "journals"),
    ("GET", "/v3/partner/{partner}/loans", "loans"),
    ("GET", "/v3/partner/{partner}/config/{name}", "config"),
)
# Last of all routes, so that a call to a path that does not exist is in the request log too.
ANYTHING = "/{path:path}"


def create(state: SandboxState) -> Starlette:
    """The application."""
    kiva = [Route(path, Exchange(state, on), methods=[method]) for method, path, on in CALLS]
    return Starlette(routes=[*View(state).routes(), *kiva, Route(ANYTHING, Exchange(state, "other"))])
