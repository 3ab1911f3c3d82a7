"""What is shown of a webhook's answer holds no secret, in whatever spelling it comes back."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.webhook.answer import SHOWN_CHARACTERS_MAX, shown
from signalq.secrets.blanking import Blanker

TOKEN = 'k"9/é+&tok <en>:\\x'


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        json.dumps(TOKEN)[1:-1],
        json.dumps(TOKEN, ensure_ascii=False)[1:-1],
        json.dumps({"connectorToken": TOKEN}),
        quote(TOKEN),
        quote(TOKEN, safe="").lower(),
        quote_plus(TOKEN),
        html.escape(TOKEN),
        TOKEN.upper(),
        TOKEN[:-3],
        TOKEN[3:],
        TOKEN * 3,
    ],
)
def test_a_secret_is_blanked_in_every_spelling_whole_or_cut(spelled: str) -> None:
    told = shown(f"the token {spelled} is wrong".encode(), Blanker([TOKEN, "another"]))
    assert told is not None
    assert told.startswith("the token")
    assert told.endswith("is wrong")
    assert "***" in told
    assert "tok <en" not in told.lower()


def test_a_short_secret_is_blanked_as_a_whole() -> None:
    assert shown(b"no abc, no ABC, no ab", Blanker(["abc"])) == "no ***, no ***, no ab"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", None),
        (b" \r\n\t", None),
        (b"not\x1b[31m taken\x00", "not [31m taken"),
        ("\u202eno\u200b".encode(), "no"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a" * 10_000, "a" * SHOWN_CHARACTERS_MAX),
    ],
)
def test_an_answer_is_shown_as_one_line_that_can_be_printed(answer: bytes, told: str | None) -> None:
    assert shown(answer) == told


@given(st.binary(max_size=300), st.text(min_size=1, max_size=80), st.integers(0, 300))
def test_no_answer_shows_the_secret(answer: bytes, secret: str, at: int) -> None:
    told = shown(answer[:at] + secret.encode("utf-8", "replace") + answer[at:], Blanker([secret])) or ""
    assert len(told) <= SHOWN_CHARACTERS_MAX
    assert told.isprintable()
    if "*" not in secret and secret.isprintable() and not secret.isspace():
        assert secret not in told
