"""Access to the console, to see and to act: by a session, a program's token, the proxy's header, the one-time link.

With a token, everybody else is nobody. Without one (on loopback alone) everybody on this machine reads, and to act a
person opens the link that the start prints.
"""

import asyncio
import hmac
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog
from aiohttp import web
from pydantic import SecretStr

from signalq.consumer.ledger.actor import Actor
from signalq.ops.console.gate import sender
from signalq.ops.console.gate.errors import NotAllowed, Refused
from signalq.ops.console.gate.sessions import NAME_CHARACTERS_MAX, Role, Session, Sessions, is_name
from signalq.ops.terminal import escaping, one_time_link
from signalq.producers.gateway.callers import counted_as
from signalq.producers.gateway.rates import Rates
from signalq.settings.sections import Settings

CONSOLE = "console"
# An address may be wrong so often in a minute, and waits so long for each answer. There is no bound for all addresses
# together: nobody outside may keep the desk from its switch.
FAILURES_PER_MINUTE = 5
FAILURE_S = 0.3
# The head tells so long before that a session ends.
WARNED_S = 1_800
PROGRAM = "a program"
WHO_ARE_YOU = {"WWW-Authenticate": 'Bearer realm="signalq"'}

VIEW_ONLY = "you are signed in to view only"
READ_ONLY = "this console is read-only (console.read_only)"
OPEN_THE_LINK = (
    "to act, open the link that the start of this console printed on its terminal, or set ops.token and sign in"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person, or program, that asks: its name (None: not known), role and address.

    `why_not` says why it may not act; None where it may. `ends_s` are the seconds until its `session` ends.
    """

    name: str | None
    role: Role
    address: str
    why_not: str | None = None
    ends_s: int | None = None
    session: Session | None = None
    is_program: bool = False

    @property
    def may_act(self) -> bool:
        """Whether it may change something."""
        return self.role == "operate" and self.why_not is None

    @property
    def ends_soon(self) -> bool:
        """Whether its session ends soon, so that its person should be told."""
        return self.ends_s is not None and self.ends_s < WARNED_S

    @property
    def ends_ms(self) -> int | None:
        """The end of its session, in ms since the epoch."""
        return None if self.session is None else self.session.ends_s * 1000

    def actor(self) -> Actor:
        """The actor of its acts, for the audit."""
        return Actor(self.name or "?", CONSOLE, self.address)

    def unnamed(self) -> "Viewer":
        """One of all viewers that may see and do the same."""
        return Viewer(None, self.role, "", self.why_not)


NOBODY = Viewer(None, "nobody", "", "sign in first")


class Access:
    """Tells who asks, by the settings as they are now; `clock` is that of sessions, in seconds since the epoch.

    `link` is the secret of the one-time link.
    """

    def __init__(
        self, settings: Callable[[], Settings], *, link: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._link: str | None = link or one_time_link.take_secret()
        self._failures = Rates(FAILURES_PER_MINUTE / 60, burst=FAILURES_PER_MINUTE)
        self.sessions = Sessions(settings, clock)

    @property
    def has_token(self) -> bool:
        """Whether the settings have a token."""
        return self._settings().ops.token is not None

    def one_time_link(self) -> str | None:
        """The secret of the link that the start prints; None where a token signs in, or once it was spent."""
        return None if self.has_token else self._link

    def role_of(self, token: str) -> Role:
        """The role that a token has; compared in constant time."""
        ops = self._settings().ops
        given = token.encode("utf-8", "surrogatepass")
        found: Role = "nobody"
        known: Mapping[Role, SecretStr | None] = {"view": ops.view_token, "operate": ops.token}
        for role, secret in known.items():
            if secret is not None and hmac.compare_digest(given, secret.get_secret_value().encode()):
                found = role
        return found

    def session(self, name: str, role: Role) -> str:
        """The value of the cookie of a session that begins now."""
        return self.sessions.signed(self.sessions.new(name, role))

    async def viewer_of(self, request: web.Request) -> Viewer:
        """The viewer that asks. Raises Refused for a forged header and for a program's wrong token."""
        viewer = await self._known(request) or self._stranger(request)
        if self._settings().console.read_only and viewer.role != "nobody":
            return replace(viewer, role="view", why_not=READ_ONLY)
        return viewer

    async def sign_in(self, request: web.Request, name: str, token: str) -> Session:
        """The session of a person who has a token. Raises Refused."""
        _check_name(name)
        role = await self._role_by(request, token, "form")
        return self._began(request, name, role, "token")

    def open_link(self, request: web.Request, secret: str, name: str) -> Session:
        """The session of the person who has the one-time link, which is spent by it. Raises Refused."""
        _check_name(name)
        self.check_link(secret)
        self._link = None
        return self._began(request, name, "operate", "link")

    def check_link(self, secret: str) -> None:
        """Check that this is the secret of the link, and that it is not spent. Raises NotAllowed."""
        link = self.one_time_link()
        if link is None or not hmac.compare_digest(secret.encode("utf-8", "surrogatepass"), link.encode()):
            raise NotAllowed(
                "this link was used already, or is not of this start: restart the console, which prints a new one",
                rule="link",
            )

    async def _known(self, request: web.Request) -> Viewer | None:
        settings = self._settings()
        # First, for the header must not be forged, whatever else a request brings.
        name = sender.name_by_proxy(request, settings.console)
        if name is not None:
            may = name in settings.console.operators
            why_not = None if may else f"{VIEW_ONLY}: ask for your name to be added to console.operators"
            return Viewer(name, "operate" if may else "view", self._address(request), why_not)
        token = _bearer(request)
        if token is not None and self.has_token:
            role = await self._role_by(request, token, "bearer")
            why_not = None if role == "operate" else "this token is to view only"
            return Viewer(PROGRAM, role, self._address(request), why_not, is_program=True)
        session = self.sessions.of(request)
        if session is None:
            return None
        why_not = None if session.role == "operate" else VIEW_ONLY
        left_s = self.sessions.left_s(session)
        return Viewer(session.name, session.role, self._address(request), why_not, left_s, session)

    def _stranger(self, request: web.Request) -> Viewer:
        if self.has_token:
            return replace(NOBODY, address=self._address(request))
        return Viewer(None, "view", self._address(request), OPEN_THE_LINK)

    async def _role_by(self, request: web.Request, token: str, way: str) -> Role:
        """The role of a token. Raises Refused for a wrong one, after a while, and for one too many of an address."""
        caller = sender.address_of(request, self._settings().console)
        # A program with an old token keeps nobody of its machine from signing in.
        key = (way, counted_as(caller))
        if wait_s := self._failures.over_s(key):
            raise Refused(
                f"too many wrong tokens came from this address: try again in {math.ceil(wait_s)} s",
                429,
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        role = self.role_of(token)
        if role == "nobody":
            self._failures.wait_s(key)
            log.warning("console.sign_in_failed", address=str(caller or "unknown"))
            await asyncio.sleep(FAILURE_S)
            raise Refused("that token is not right", 401, headers=WHO_ARE_YOU)
        return role

    def _began(self, request: web.Request, name: str, role: Role, by: str) -> Session:
        log.info("console.signed_in", who=name, role=role, by=by, address=self._address(request))
        return self.sessions.new(name, role)

    def _address(self, request: web.Request) -> str:
        return str(sender.address_of(request, self._settings().console) or "unknown")


def _bearer(request: web.Request) -> str | None:
    """The token of a program. A request with a cookie comes from a browser: whatever Authorization it has, a proxy may
    have put there.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and "Cookie" not in request.headers else None


def _check_name(name: str) -> None:
    """Check a name for the audit. Raises Refused."""
    if not is_name(name):
        raise Refused(f"your name has 1 to {NAME_CHARACTERS_MAX} characters that can be printed")
    if escaping.secrets.finds(name):
        raise Refused("your name must not hold a token: it stands in the audit")
