"""Ways to misspell, misplace or mis-encode a token, each a message as a producer might send it; and how to look for it.

In every row the token is `SECRET`, which no setting names, or `CONFIGURED`, that of the connector `main`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pamqp.commands import Basic

from tests.support.webhook import Answer

SECRET = "kQ7vX2mN-9pL4wR8s.Zt3hB6yD"
CONFIGURED = "cF5tG8jW_1nM6qK3z~Vb9xR2uE"
# So many of its characters in a row are a part of it.
PART_CHARACTERS = 8

VALID: dict[str, Any] = {"connectorName": "desk", "connectorToken": SECRET, "action": "buy", "fixed": "1"}
URL_SECRET = quote(SECRET, safe="")


@dataclass(frozen=True)
class Row:
    """One message; `is_order` where it is a valid intent all the same.

    With an `answer` it is one that the webhook refuses so.
    """

    name: str
    body: bytes
    routing_key: str = "desk"
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    is_order: bool = False
    answer: Answer | None = None

    def message(self) -> tuple[bytes, Basic.Properties]:
        """As it is published."""
        return self.body, Basic.Properties(delivery_mode=2, headers=self.headers or None, **self.properties)


def _json(*without: str, **fields: Any) -> bytes:
    kept = {name: value for name, value in VALID.items() if name not in without}
    return json.dumps({**kept, **fields}).encode()


def _named(name: str) -> bytes:
    """The token under a name of its own."""
    return _json("connectorToken", **{name: SECRET})


def _multipart() -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in VALID.items()
    ]
    return ("".join(parts) + "--b--\r\n").encode()


def _msgpack() -> bytes:
    def text(value: str) -> bytes:
        return b"\xd9" + bytes([len(value)]) + value.encode()

    return bytes([0x80 + len(VALID)]) + b"".join(text(name) + text(value) for name, value in VALID.items())


def _bson() -> bytes:
    elements = b"".join(
        b"\x02" + name.encode() + b"\0" + struct.pack("<i", len(value) + 1) + value.encode() + b"\0"
        for name, value in VALID.items()
    )
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def _misspelt() -> Iterator[Row]:
    for name in (
        *("connectorTokne", "conectorToken", "connectorToekn", "connector_token", "CONNECTORTOKEN", "connectorTkn"),
        *("token", "Token", "apiKey", "secret", "password", "authorization", "connectorToken ", "connectorKey", "auth"),
    ):
        yield Row(f"misspelt: {name}", _named(name))


def _misplaced() -> Iterator[Row]:
    for token, whose in ((SECRET, "its own"), (CONFIGURED, "a configured one")):
        yield Row(f"as a name, {whose}", _json(**{token: "1"}))
        yield Row(f"as a name twice, {whose}", _json()[:-1] + f',"{token}":1,"{token}":2}}'.encode())
        yield Row(f"as the connector, {whose}", _json(connectorName=token))
        yield Row(f"as the connector of no order, {whose}", _json("action", connectorName=token))
        yield Row(f"as the action, {whose}", _json(action=token))
        yield Row(f"as the price, {whose}", _json(limit=token))
        yield Row(f"as the delay, {whose}", _json(delaySeconds=token))
        yield Row(f"as the client's id, {whose}", _json(clientOrderId=token))
        yield Row(f"as the message_id, {whose}", _json(), properties={"message_id": token})
        yield Row(f"as the strategy, {whose}", _json(), headers={"signalq-strategy": token})
        yield Row(f"as the app_id, {whose}", _json(), properties={"app_id": token})
        yield Row(f"as the routing key, {whose}", _json("connectorName"), routing_key=token)
        yield Row(f"in the log, {whose}", _json(log=f"token={token}"), is_order=True)
        yield Row(f"in the log of no order, {whose}", _json("fixed", log=f"token={token}", fixed="x"))
    yield Row("as the routing key of what nobody can read", b"nonsense", routing_key=CONFIGURED)
    yield Row("in a header", _json("action"), headers={"authorization": f"Bearer {SECRET}", "x-token": SECRET})
    yield Row("as a header's name", _json("action"), headers={SECRET: "1"})
    yield Row("in a header of ours", _json("action"), headers={"signalq-detail": SECRET, "traceparent": SECRET})
    yield Row("in a table of headers", _json("action"), headers={"more": {"token": SECRET, SECRET: "1"}})
    yield Row("in a header that a producer may set", _json("action"), headers={"signalq-created-ms": SECRET})
    yield Row("as the correlation id", _json("action"), properties={"correlation_id": SECRET, "reply_to": SECRET})
    yield Row("as the content type", _json("action"), properties={"content_type": SECRET})
    yield Row("nested", _json("connectorToken", order={"connectorToken": SECRET, "a": [SECRET]}))
    yield Row("in an array", json.dumps([VALID]).encode())
    yield Row("as the whole body", SECRET.encode())
    yield Row("as a JSON text", json.dumps(SECRET).encode())
    yield Row("beside a URL", _json(log=f"see https://u:{SECRET}@example.com/x"), is_order=True)


def _encoded() -> Iterator[Row]:
    spelt = json.dumps(VALID)
    yield Row("single quotes", str(VALID).encode())
    yield Row("without quotes", f"{{connectorName:desk,connectorToken:{SECRET}}}".encode())
    yield Row("cut off", _json()[:-20])
    yield Row("a stray comma", _json()[:-1] + b",}")
    yield Row("escapes in broken JSON", b'{"connectorT\\u006fken":"' + SECRET.encode() + b'","a":}')
    yield Row("every character escaped", '{{"x":"{}"'.format("".join(f"\\u{ord(c):04x}" for c in SECRET)).encode())
    yield Row("XML", f"<order><connectorToken>{SECRET}</connectorToken></order>".encode())
    yield Row("CSV", f"connectorName,connectorToken,action\ndesk,{SECRET},buy\n".encode())
    yield Row("YAML", f"connectorName: desk\nconnectorToken: {SECRET}\n".encode())
    yield Row("TOML", f'connectorToken = "{SECRET}"\n'.encode())
    yield Row("URL-encoded", f"connectorName=desk&connectorToken={URL_SECRET}&action=buy".encode())
    yield Row("multipart", _multipart(), properties={"content_type": "multipart/form-data; boundary=b"})
    yield Row("MessagePack", _msgpack())
    yield Row("BSON", _bson())
    yield Row("UTF-16", spelt.encode("utf-16"))
    yield Row("UTF-32", spelt.encode("utf-32-be"))
    yield Row("a byte-order mark", b"\xef\xbb\xbf" + spelt.encode())
    yield Row("base 64", base64.b64encode(spelt.encode()))
    yield Row("JSON in JSON", json.dumps(spelt).encode())
    yield Row("bytes that are no text", b"\xff" + spelt.encode())


def percent_encoded(token: str) -> str:
    """All of it, also what need not be."""
    return "".join(f"%{byte:02X}" for byte in token.encode())


def escaped(token: str) -> str:
    """As JSON may write any character."""
    return "".join(f"\\u{ord(character):04x}" for character in token)


def base64_of(token: str) -> str:
    """As a header for a login has it."""
    return base64.b64encode(f"u:{token}".encode()).decode()


_SPELLINGS = {"upper case": str.upper, "base 64": base64_of, "percent-encoded": percent_encoded, "escaped": escaped}
_ALL = (*_SPELLINGS.items(), ("plain letters", str), ("hexadecimal", lambda token: token.encode().hex()))


def _misplaced_and_encoded() -> Iterator[Row]:
    for token, whose in ((SECRET, "its own"), (CONFIGURED, "a configured one")):
        for spelling, spelt in _SPELLINGS.items():
            yield Row(f"as the client's id in {spelling}, {whose}", _json(clientOrderId=spelt(token)))
            yield Row(f"as the connector in {spelling}, {whose}", _json("action", connectorName=spelt(token)))
        hexadecimal = token.encode().hex()
        yield Row(f"as the message_id in hexadecimal, {whose}", _json(), properties={"message_id": hexadecimal})
        yield Row(f"as the strategy in a URL, {whose}", _json(), headers={"signalq-strategy": f"x?t={quote(token)}"})
        yield Row(f"within the app_id, {whose}", _json(), properties={"app_id": f"desk {token} 2"})
        yield Row(f"in the delay's filter, {whose}", _json(delaySecondsFilter=token, log="x"), is_order=True)
    first, second = CONFIGURED[:13], CONFIGURED[13:]
    yield Row("split over two fields", _json("action", connectorName=first, clientOrderId=second))
    yield Row("a part as the routing key", b"nonsense", routing_key=first)
    yield Row("a part as the message_id", _json("action"), properties={"message_id": f"order-{second}"})
    yield Row("a part as the app_id", _json("action"), properties={"app_id": first})
    yield Row("a list", _json(connectorToken=[SECRET]))
    yield Row("an object", _json(connectorToken={"value": SECRET}))
    yield Row("a Cyrillic letter", _named("\u0441onnectorToken"))
    yield Row("a zero-width space", _named("connectorToken\u200b"))
    yield Row("given twice", _json()[:-1] + f',"connectorToken":"{CONFIGURED}"}}'.encode())
    yield Row("in a property", _json("action"), properties={"message_type": SECRET, "content_encoding": SECRET})
    yield Row("as the trace of an order", _json(), headers={"traceparent": SECRET}, is_order=True)
    yield Row("in a header of an order", _json(), headers={"authorization": SECRET, SECRET: "1"}, is_order=True)
    yield Row("curl", f"curl -d connectorToken={SECRET} https://example.com".encode())
    yield Row("an HTTP request", f"POST / HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\n\r\n".encode())
    yield Row("PHP", f'a:1:{{s:14:"connectorToken";s:{len(SECRET)}:"{SECRET}";}}'.encode())


def _answered() -> Iterator[Row]:
    for token, whose in ((SECRET, "its own"), (CONFIGURED, "a configured one")):
        headers = {"Location": f"https://example.com/{token}", "Set-Cookie": token, "Retry-After": token}
        answers = {f"in {name}": Answer(400, f"the token {spelt(token)} is wrong".encode()) for name, spelt in _ALL}
        answers["in part"] = Answer(500, f"{token[4:17]}… is wrong".encode())
        answers["in headers"] = Answer(302, b"see there", headers)
        for name, answer in answers.items():
            yield Row(f"answered {name}, {whose}", posted(_json(clientOrderId=f"{name} {whose}")), answer=answer)


def posted(body: bytes) -> bytes:
    """As it is POSTed: without blanks."""
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


ROWS: tuple[Row, ...] = (*_misspelt(), *_misplaced(), *_encoded(), *_misplaced_and_encoded(), *_answered())


def found_in(text: str) -> list[str]:
    """The parts of either token that stand in a text, as they are or encoded."""
    spellings = [
        form
        for token in (SECRET, CONFIGURED)
        for form in (
            *(token, token.upper(), token.lower(), quote(token, safe=""), percent_encoded(token), token.encode().hex()),
            *(base64.b64encode(token.encode()).decode(), base64_of(token)[4:]),
        )
    ]
    parts = {form[at : at + PART_CHARACTERS] for form in spellings for at in range(len(form) - PART_CHARACTERS + 1)}
    return sorted(part for part in parts if part in text)
