"""Sessions: values in a cookie, signed by a key made of the token that let their person in. None is stored.

So a session is good at every replica and after a restart, and a new token ends those that the old one began. Each role
has a key of its own: a view token signs nothing that may act, and a cookie to look is no help to guess the other token.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from aiohttp import web
from itsdangerous import BadData, URLSafeSerializer

from signalq.ops.console.gate.sender import is_https, port_of
from signalq.settings.sections import Settings

Role = Literal["nobody", "view", "operate"]

COOKIE = "signalq_session"
KEY_OF = b"signalq console session 1"
# A session ends so long after its last use, and at last after its longest: one that only views is for a display on a
# wall.
SESSION_S = 12 * 3600
LONGEST_S: Mapping[Role, int] = {"operate": 7 * 86_400, "view": 30 * 86_400}
# Before that the cookie is as good as a new one.
RENEWED_AFTER_S = 600
NAME_CHARACTERS_MAX = 64


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a person, by its last use; times are seconds since the epoch."""

    name: str
    role: Role
    began_s: int
    used_s: int

    @property
    def ends_s(self) -> int:
        """The end, unless it is used again."""
        return min(self.used_s + SESSION_S, self.began_s + LONGEST_S[self.role])


class Sessions:
    """Signs sessions and reads them, by the settings as they are now. Without a token the key is this process' own."""

    def __init__(self, settings: Callable[[], Settings], clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._own_secret = secrets.token_bytes(32)

    def new(self, name: str, role: Role) -> Session:
        """A session that begins now."""
        now_s = int(self._clock())
        return Session(name, role, now_s, now_s)

    def left_s(self, session: Session) -> int:
        """The seconds until a session ends."""
        return session.ends_s - int(self._clock())

    def signed(self, session: Session) -> str:
        """The value of its cookie."""
        value = {"name": session.name, "began": session.began_s, "used": session.used_s}
        return str(self._signer(session.role).dumps(value))

    def read(self, value: str) -> Session | None:
        """The session of a cookie; None for one that is over, or that nobody here has signed."""
        found = (self._read(value, role) for role in LONGEST_S if self._secret(role) is not None)
        session = next(filter(None, found), None)
        return session if session is not None and self.left_s(session) > 0 else None

    def of(self, request: web.Request) -> Session | None:
        """The session of a request."""
        value = request.cookies.get(self._cookie_of(request))
        return self.read(value) if value is not None else None

    def put(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Let the browser keep a session."""
        response.set_cookie(
            self._cookie_of(request),
            self.signed(session),
            max_age=self.left_s(session),
            path=self._base or "/",
            secure=is_https(request, self._settings()),
            httponly=True,
            samesite="Lax",
        )

    def renew(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Let the browser keep a session for longer, unless the answer sets another one, or ends it."""
        now_s = int(self._clock())
        if now_s - session.used_s >= RENEWED_AFTER_S and self._cookie_of(request) not in response.cookies:
            self.put(request, response, replace(session, used_s=now_s))

    def remove(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the browser forget it."""
        response.del_cookie(
            self._cookie_of(request),
            path=self._base or "/",
            secure=is_https(request, self._settings()),
            httponly=True,
            samesite="Lax",
        )

    @property
    def _base(self) -> str:
        return self._settings().console.base

    def _cookie_of(self, request: web.Request) -> str:
        """The name of the cookie. A browser keeps those of all ports of a machine together: so the port is in it."""
        port = port_of(request.headers.get("Host", ""))
        # https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
        prefix = "__Host-" if is_https(request, self._settings()) and not self._base else ""
        return f"{prefix}{COOKIE}{f'_{port}' if port else ''}"

    def _secret(self, role: Role) -> bytes | None:
        ops = self._settings().ops
        token = ops.view_token if role == "view" else ops.token
        if token is not None:
            return token.get_secret_value().encode()
        return self._own_secret if role == "operate" else None

    def _signer(self, role: Role) -> URLSafeSerializer:
        secret = self._secret(role)
        if secret is None:
            raise ValueError(f"nobody has the role {role}: there is no token for it")
        return URLSafeSerializer(hmac.digest(secret, KEY_OF, sha256), salt=role)

    def _read(self, value: str, role: Role) -> Session | None:
        """A session of this role. The holder of a token can sign anything, so nothing in it is taken on trust."""
        try:
            known = self._signer(role).loads(value)
            session = Session(known["name"], role, int(known["began"]), int(known["used"]))
        except (BadData, KeyError, TypeError, ValueError, OverflowError):
            return None
        return session if isinstance(session.name, str) and is_name(session.name) else None


def is_name(text: str) -> bool:
    """Whether a text can be a person's name in the audit."""
    return 0 < len(text) <= NAME_CHARACTERS_MAX and text.isprintable() and text == text.strip()
