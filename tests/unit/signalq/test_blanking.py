"""Known secrets are blanked by one rule: whole or in part, however they are written (contract 3 to 5)."""

from __future__ import annotations

import base64
import html
import json
import secrets
import time
from collections.abc import Callable
from random import Random
from urllib.parse import quote, quote_plus

import pytest

from signalq.secrets.blanking import PART_CHARACTERS, SECRET_CHARACTERS_MAX, Blanker, BodyBlanker, hold_token

TOKEN = "kQ7vX2mN-9pL4wR8s.Zt3hB6yD"


def _escaped(secret: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in secret)


SPELLINGS: list[Callable[[str], str]] = [
    lambda secret: secret,
    lambda secret: secret.encode().upper().decode(),
    lambda secret: quote(secret, safe=""),
    lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    lambda secret: quote(quote(secret, safe=""), safe=""),
    quote_plus,
    json.dumps,
    lambda secret: json.dumps(secret, ensure_ascii=False),
    lambda secret: json.dumps(json.dumps({"token": secret})),
    lambda secret: secret.replace("/", "\\/"),
    _escaped,
    lambda secret: secret[:3] + _escaped(secret[3:5]) + secret[5:],
    ascii,
    html.escape,
    lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    lambda secret: base64.b64encode(secret.encode()).decode(),
    lambda secret: base64.b64encode(b"u:" + secret.encode()).decode(),
    lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode() + b"yz").decode(),
    lambda secret: secret.encode().hex(),
    lambda secret: secret.encode().hex().upper(),
]


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("secret", ["k2Jd8-Wq+", 'a"b\\c/d?e&f', "pässwörd+ 1"])
def test_a_known_secret_is_blanked_however_it_is_written(secret: str, spelt: Callable[[str], str]) -> None:
    blanker = Blanker([secret, ""])
    text = f"before {spelt(secret)} after"
    assert blanker.finds(text)
    shown = blanker(text)
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    assert spelt(secret)[3:-3] not in shown


@pytest.mark.parametrize("part", [TOKEN[:13], TOKEN[13:], TOKEN[5 : 5 + PART_CHARACTERS], TOKEN[2:].lower()])
def test_a_part_is_blanked_as_the_whole_is(part: str) -> None:
    assert Blanker(["another", TOKEN])(f"x {part}, y") == "x ***, y"
    assert Blanker([TOKEN])(f"x {part[: PART_CHARACTERS - 1]}, y") == f"x {part[: PART_CHARACTERS - 1]}, y"


def test_no_name_is_missing_because_a_token_is_called_after_it() -> None:
    blanker = Blanker(["tok-bot12-eth", "my-momentum-secret", "rabbitmq-9"], names=["bot12-eth"])
    text = "bot12-eth momentum rabbitmq"
    assert blanker(text) == text
    assert blanker("tok-bot12-eth my-momentum-secret my-momentum-secr RABBITMQ-9") == "*** *** *** ***"


def test_a_long_part_is_blanked_be_it_of_words() -> None:
    assert Blanker(["correct horse battery"])("a correct horse bat, b") == "a ***, b"


def test_a_short_secret_is_blanked_as_a_whole_and_not_where_it_would_stand_by_chance() -> None:
    blanker = Blanker(["abc"])
    assert blanker("no abc, no ABC, no ab") == "no ***, no ***, no ab"
    assert blanker("abc", characters_min=6) == "abc"
    assert not blanker.holds("abc", characters_min=6)


@pytest.mark.parametrize("count", [1, 500])
def test_a_secret_is_found_among_many_as_among_a_few(count: int) -> None:
    known = [f"{number:04}-{secrets.token_urlsafe(12)}" for number in range(count)]
    blanker = Blanker([*known, "tiny"])
    for text in (known[-1], f"x{known[0]}y", f"x {known[count // 2]}", "atinyb"):
        assert blanker.finds(text)
        assert blanker.holds(text)
        assert "***" in blanker(text)
    assert not blanker.holds(known[0][:-1])
    assert not blanker.finds("nothing of the kind")
    assert blanker("nothing of the kind") == "nothing of the kind"


def test_no_id_is_blanked_by_chance() -> None:
    random = Random(15)
    blanker = Blanker(f"{random.getrandbits(128):032x}" for _ in range(100))
    ids = [f"{random.getrandbits(128):032x}" for _ in range(5_000)]
    assert [one for one in ids if blanker(one) != one] == []


def test_a_secret_that_begins_another_leaves_nothing_of_it() -> None:
    blanker = Blanker(["abcdef"])
    blanker.learn(["abcdefghij"])
    assert blanker("x abcdefghij y abcdef z") == "x *** y *** z"


def test_a_urls_login_is_blanked_whether_it_is_known_or_not() -> None:
    assert Blanker()("at amqp://u:s3cr3t@h/ and a@b") == "at amqp://***@h/ and a@b"


def test_a_secret_as_long_as_a_body_costs_no_more_than_any_other() -> None:
    long = secrets.token_urlsafe(45_000)
    began_s = time.process_time()
    assert Blanker([long])(f"x {long[:100]} y") == "x *** y"
    assert time.process_time() - began_s < 0.05
    assert Blanker([long])(long[:SECRET_CHARACTERS_MAX]) == "***"


def test_a_value_under_the_name_of_a_secret_is_blanked_as_a_whole() -> None:
    blanker = BodyBlanker({"connectorTokne": TOKEN, "action": "openLong", "token": "tiny"}, characters_min=8)
    assert blanker(f"a {TOKEN} b {TOKEN.upper()} openLong tiny") == "a *** b *** openLong tiny"
    assert blanker(f"c{base64.b64encode(TOKEN.encode()).decode()}") == "***"
    assert blanker(f"desk {TOKEN[:13]}") == f"desk {TOKEN[:13]}"


@pytest.mark.parametrize("spelt", SPELLINGS)
def test_a_token_is_held_by_a_text_however_it_is_written(spelt: Callable[[str], str]) -> None:
    assert hold_token(["desk", f"x{spelt(TOKEN)}y"], TOKEN)
    assert not hold_token(["desk", TOKEN[1:], f"{'0' * 100} 100 % & more"], TOKEN)
