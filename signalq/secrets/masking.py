"""Mask a URL, a foreign name or JSON data: no logins, no name that may be a secret, no token.

This is the only place that masks, beside blanking.py, which looks for known secrets in a text.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"
MALFORMED = "a malformed URL"
# A shorter secret would turn up by chance in what is shown.
SECRET_CHARACTERS_MIN = 6

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TEXT_WORD = re.compile(r"\S+")
_PLAIN_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The parameters that a URL's query may show; any other may hold a password, even under a misspelt name.
_SHOWN_PARAMETERS = frozenset({"host", "hostaddr", "port", "dbname", "sslmode", "ssl", "target_session_attrs"})
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._:,/\[\]-]*")


def masked(url: str) -> str:
    """The URL as it may be shown: scheme, user, host, path, and the harmless part of its query.

    Everything up to the last `@` is masked, except a plain user name before a colon: a password with a raw `@`, which
    should be written `%40`, would otherwise be shown in part. A user without a password is masked: it may be a token.
    Behind a raw `?` or `#` an `@` may belong to a password before it, or to one in the query: neither side is shown.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return MALFORMED
    rest = url[scheme.end() :]
    if url.startswith("sqlite"):  # a path, which may hold an @
        return scheme[0] + rest.partition("?")[0]
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        # Several hosts (`h1:5432,h2:5432`) have no single port; anything else is malformed.
        if "," not in rest.rpartition("@")[2] or not str(error).startswith("Port"):
            return MALFORMED
    login, at, address = rest.rpartition("@")
    path, _, query = address.partition("#")[0].partition("?")
    shown = MASK if _is_doubtful(login) else path + _query(query)
    return scheme[0] + (_login(login) + at if at else "") + shown


def _is_doubtful(login: str) -> bool:
    """Whether the last `@` of a URL, which stands behind this text, may be one of its query."""
    return "?" in login or "#" in login


def _login(login: str) -> str:
    user, colon, _ = login.partition(":")
    return f"{user}:{MASK}" if colon and (not user or _PLAIN_USER.fullmatch(user)) else MASK


def _query(query: str) -> str:
    shown = [
        f"{name}={value}"
        for name, value in parse_qsl(query)
        if name in _SHOWN_PARAMETERS and _PLAIN_VALUE.fullmatch(value)
    ]
    return "?" + "&".join(shown) if shown else ""


def without_logins(text: str) -> str:
    """The text with the login of every URL masked: in each word, everything from `://` to its last `@`, see masked."""
    if "://" not in text or "@" not in text:
        return text
    return _TEXT_WORD.sub(lambda found: _word_without_login(found[0]), text)


def _word_without_login(word: str) -> str:
    scheme, separator, rest = word.partition("://")
    login, at, address = rest.rpartition("@")
    if not separator or not at:
        return word
    is_masked = login.endswith(f":{MASK}") and _PLAIN_USER.fullmatch(login.removesuffix(f":{MASK}"))
    return f"{scheme}://{login if is_masked else MASK}@{MASK if _is_doubtful(login) else address}"


def login_name(url: str) -> str:
    """The user in a URL, decoded; empty where it names none."""
    return unquote(_logins(url)[0].partition(":")[0])


def login_secrets(url: str) -> list[str]:
    """The password in a URL, as it is written there and decoded, with any raw `@` in it.

    A password that equals the user's name, such as that of RabbitMQ's well-known guest, does not count: blanked, the
    name would be missing from every text that is shown.
    """
    found = set()
    for login in _logins(url):
        user, _, password = login.partition(":")
        found |= {one for one in (password, unquote(password)) if one and one != user}
    return list(found)


def _logins(url: str) -> list[str]:
    """The login in a URL, by each reading of it: up to the last `@` before the first `/`, `?` or `#`, as the URL's
    users read it; and up to one behind a `/`, or else behind any sign, which may be a raw one of a password.
    """
    rest = _SCHEME.sub("", url, count=1)
    host, path = (re.split(signs, rest, maxsplit=1)[0] for signs in ("[/?#]", "[?#]"))
    found = [text.rpartition("@")[0] for text in (host, path) if "@" in text]
    return found or [rest.rpartition("@")[0]]


# The separators between the parts of a URL.
_URL_PARTS = re.compile(r"[/?&=#:@,;+\s]+")


def service_secrets(url: str) -> list[str]:
    """The secrets in a URL of apprise, where any part may be a token: its password, and each part but plain words."""
    parts = {part for text in (url, unquote(url)) for part in _URL_PARTS.split(text)}
    # Not of the whole URL, in which addresses of people may stand behind the host.
    login = login_secrets(re.split(r"(?<![:/])[/?#]", url, maxsplit=1)[0])
    return sorted({*login, *(part for part in parts if shown_words(part) != part)})


NAME_CHARACTERS_MAX = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z_.-]*[0-9]?|[A-Za-z]{1,2}[0-9]{1,4}")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_UNSPEAKABLE = re.compile(r"[^aeiouyAEIOUY_.-]{6}")
_WORDS_MAX = 6
_WORD_CHARACTERS_MAX = 14
_WORD_CHARACTERS_MEAN = 2.5
_ESCAPED_CHARACTERS_MAX = 12


def looks_like_a_name(name: str) -> bool:
    """Whether it was meant as the name of a field or a header, and is not a secret in the place of a name.

    A name has a few words that can be spoken, in camelCase, snake_case or with hyphens, and digits only at its end.
    """
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name) or _UNSPEAKABLE.search(name):
        return False
    words = _WORD.findall(name)
    if len(words) > _WORDS_MAX or any(len(word) > _WORD_CHARACTERS_MAX for word in words):
        return False
    return len(words) == 1 or sum(map(len, words)) >= _WORD_CHARACTERS_MEAN * len(words)


def shown_name(name: str) -> str:
    """A foreign name where it looks like one, else its length alone."""
    if looks_like_a_name(name):
        return name
    # No secret has control characters.
    if len(name) < _ESCAPED_CHARACTERS_MAX and not name.isprintable():
        return name.encode("unicode_escape", "backslashreplace").decode("ascii")
    return f"(a name of {len(name)} characters, not shown)"


_BETWEEN_PIECES = re.compile(r"[^\w]+|_+")
_PIECE = re.compile(r"([A-Za-z]+)[0-9]{0,4}|[0-9]{1,14}|[^\W\d_]*[^\x00-\x7f]+\w*")


def shown_words(text: str) -> str:
    """A typed word where it consists of words and numbers, else its length alone: it may be a misplaced secret."""
    pieces = [_PIECE.fullmatch(piece) for piece in _BETWEEN_PIECES.split(text) if piece]
    are_words = all(found and (not found[1] or found[1].isupper() or looks_like_a_name(found[1])) for found in pieces)
    return text if are_words or len(text) < SECRET_CHARACTERS_MIN else f"(a name of {len(text)} characters, not shown)"


def shown_path(path: str) -> str:
    """The path of a missing file: whole where its folder is there, or it consists of words, else its length alone."""
    folder = os.path.dirname(path)  # noqa: PTH120 - as it was typed
    return path if folder and os.path.isdir(folder) else shown_words(path)  # noqa: PTH112


_SECRET_WORDS = ("tok", "tkn", "secret", "passw", "pwd", "auth", "credential", "apikey", "api_key")
_LETTERS_OF_TOKEN = frozenset("connectortoken")
_LETTERS_MISSING_MAX = 1


def names_a_secret(name: str) -> bool:
    """Whether the value under a name may be a token: `connectorToken`, a misspelling of it, `authorization`.

    A misspelling has a k, which no other field has, and all letters of connectorToken but one.
    """
    folded = name.casefold()[:NAME_CHARACTERS_MAX]
    if any(word in folded for word in _SECRET_WORDS):
        return True
    return "k" in folded and len(_LETTERS_OF_TOKEN - set(folded)) <= _LETTERS_MISSING_MAX


def without_tokens(value: object) -> object:
    """JSON data in which every value under a name of a secret is masked, however deep."""
    if isinstance(value, Mapping):
        return {name: MASK if names_a_secret(name) else without_tokens(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_tokens(item) for item in value]
    return value
