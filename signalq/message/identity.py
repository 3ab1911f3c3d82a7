"""The identity of an intent: its `message_id` where that can be kept, else one that is made from it."""

import hashlib
import re
import uuid

# An AMQP short string: a message_id, a strategy, a routing key.
SHORT_STRING_BYTES_MAX = 255
DIGEST_BYTES = 16
# Of an identity that is too long to travel, so much is kept; a digest of the whole follows.
ID_BYTES_KEPT = 200
# Of an id that belongs to other bytes, so much is kept in the id that takes its place.
ID_CHARACTERS_KEPT = 200
# Of a foreign identity, so much is shown.
ID_CHARACTERS_SHOWN = 64
_RANDOM = re.compile(r"[0-9A-Fa-f-]{32,}")


def new_message_id() -> str:
    """An identity for an intent that has none."""
    return uuid.uuid4().hex


def digest_of(body: bytes) -> bytes:
    """The digest, of DIGEST_BYTES, that tells one body from another."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def fitting_id(message_id: str) -> str:
    """An identity that AMQP can carry: `message_id` itself, or its beginning and a digest where it is too long.

    A producer's id can be too long only because foreign bytes grew when they were read leniently.
    """
    if len(message_id.encode()) <= SHORT_STRING_BYTES_MAX:
        return message_id
    digest = hashlib.blake2b(message_id.encode(), digest_size=8).hexdigest()
    return f"{message_id.encode()[:ID_BYTES_KEPT].decode('utf-8', 'ignore')}~{digest}"


def separate_id(message_id: str, digest: bytes) -> str:
    """The identity of an intent whose `message_id` belongs to an earlier intent with another body."""
    return f"{message_id[:ID_CHARACTERS_KEPT]}~{digest.hex()[:16]}"


def unauthorized_id(message_id: str, user: str | None, digest: bytes) -> str:
    """The identity of a message whose `user` may not claim `message_id`.

    It is no intent's identity, nor any that `separate_id` makes; the same message has the same one each time.
    """
    return separate_id(message_id, digest_of(b"\x00".join([b"unauthorized", (user or "").encode(), digest])))


def printable_id(message_id: str) -> str:
    """A foreign identity, safe to show: control and non-ASCII characters escaped, cut at ID_CHARACTERS_SHOWN."""
    shown = message_id[:ID_CHARACTERS_SHOWN].encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown + ("…" if len(message_id) > ID_CHARACTERS_SHOWN else "")


def short_id(intent_id: str, characters: int) -> str:
    """An identity cut to so many characters, which commands take for the whole one if it is short for no other.

    Of a random one its beginning is left; another is cut in its middle, for those of a strategy often begin alike.
    """
    if len(intent_id) <= characters:
        return intent_id
    if is_random(intent_id):
        return intent_id[:characters]
    end = characters // 2
    return f"{intent_id[: characters - end - 1]}…{intent_id[-end:]}"


def is_random(intent_id: str) -> bool:
    """Whether an identity looks like a random one, which is never the beginning of another."""
    return _RANDOM.fullmatch(intent_id) is not None
