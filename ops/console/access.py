"""Who may see the console, and who may act: the token, the signed session, the one-time link, the proxy's header.

Nothing is stored: a session is a signed value in a cookie, good at every replica and after a restart, and a new token
ends all of them. Without a token (on loopback alone) everybody on this machine reads, and who acts opens the link that
the start prints.
"""

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from aiohttp import web
from itsdangerous import BadData, URLSafeTimedSerializer

from signalq.consumer.ledger.actor import Actor
from signalq.settings.sections import Settings

Role = Literal["nobody", "view", "operate"]

CONSOLE = "console"
COOKIE = "signalq_session"
KEY_OF = b"signalq console session 1"
# A session is renewed by use, up to its longest; one that only views is for a display on a wall.
SESSION_S = 12 * 3600
SESSION_MAX_S: Mapping[Role, int] = {"operate": 7 * 86_400, "view": 30 * 86_400, "nobody": 0}
NAME_CHARACTERS_MAX = 64


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person, or program, that asks: its name (None: not known), role and address.

    `why_not` says why it may not act; None where it may. `ends_s` are the seconds until its session ends.
    """

    name: str | None
    role: Role
    address: str
    why_not: str | None = None
    ends_s: int | None = None

    @property
    def may_act(self) -> bool:
        """Whether it may change something."""
        return self.role == "operate" and self.why_not is None

    def actor(self) -> Actor:
        """The actor of its acts, for the audit."""
        return Actor(self.name or "?", CONSOLE, self.address)


class Access:
    """Tells who asks, by the settings as they are now; `port` is the one that is listened on, once it is known."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._own_secret = secrets.token_bytes(32)
        self._link: str | None = secrets.token_urlsafe(24)

    @property
    def has_token(self) -> bool:
        """Whether the settings have a token."""
        return self._settings().ops.token is not None

    def one_time_link(self) -> str | None:
        """The secret of the link that the start prints; None where a token signs in, or once it was spent."""
        return None if self.has_token else self._link

    def spend_link(self, given: str) -> bool:
        """Whether this is the secret of the link; then it is spent."""
        link = self.one_time_link()
        if link is None or not hmac.compare_digest(given.encode(), link.encode()):
            return False
        self._link = None
        return True

    def role_of(self, token: str) -> Role:
        """The role that a token has; compared in constant time."""
        ops = self._settings().ops
        found: Role = "nobody"
        for secret, role in ((ops.view_token, "view"), (ops.token, "operate")):
            if secret is not None and hmac.compare_digest(token.encode(), secret.get_secret_value().encode()):
                found = role  # type: ignore[assignment]
        return found

    def session(self, name: str, role: Role) -> str:
        """The value of a session's cookie."""
        return self._signer().dumps({"name": name, "role": role, "began": int(time.time())})  # type: ignore[no-any-return]

    def viewer_of(self, request: web.Request) -> Viewer:
        """Who asks. Raises Refused for a header that somebody forged."""
        address = request.remote or "unknown"
        settings = self._settings()
        viewer = self._by_cookie(request, address) or self._stranger(address)
        if settings.console.read_only and viewer.role == "operate":
            return Viewer(viewer.name, "view", address, "this console is read-only (console.read_only)")
        return viewer

    def _by_cookie(self, request: web.Request, address: str) -> Viewer | None:
        value = request.cookies.get(COOKIE)
        if value is None:
            return None
        try:
            known = self._signer().loads(value, max_age=SESSION_S)
        except BadData:
            return None
        role: Role = known["role"]
        why_not = None if role == "operate" else "you are signed in to view only"
        return Viewer(str(known["name"]), role, address, why_not)

    def _stranger(self, address: str) -> Viewer:
        if self.has_token:
            return Viewer(None, "nobody", address, "sign in first")
        return Viewer(None, "view", address, "open the link that the start of this console printed, to act")

    def _signer(self) -> URLSafeTimedSerializer:
        token = self._settings().ops.token
        secret = token.get_secret_value().encode() if token is not None else self._own_secret
        return URLSafeTimedSerializer(hmac.digest(secret, KEY_OF, sha256), salt="session")
