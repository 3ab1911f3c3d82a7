"""One place masks: URLs, texts with known secrets in them, and foreign names (contract 3 to 5)."""

from __future__ import annotations

import base64
import secrets
import string
import time
import uuid
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq import OrderPublisher, SyncOrderPublisher
from signalq.producers.strategies.command_line import BrokerAddress
from signalq.secrets.masking import (
    MALFORMED,
    login_name,
    login_secrets,
    looks_like_a_name,
    masked,
    names_a_secret,
    shown_name,
    shown_path,
    shown_words,
    without_logins,
)

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:s3cr3t@host/v", "amqp://u:***@host/v"),
        ("amqp://u:abc@s3cr3t@host/v", "amqp://u:***@host/v"),
        ("amqp://u:abc%40s3cr3t@host/v", "amqp://u:***@host/v"),
        ("amqp://u:@s3cr3t@@@host", "amqp://u:***@host"),
        ("amqp://s3cr3t@host/", "amqp://***@host/"),
        ("amqp://:s3cr3t@host/", "amqp://:***@host/"),
        ("amqp://u@x:s3cr3t@host/", "amqp://***@host/"),
        ("amqp://a%40b:s3cr3t@host/", "amqp://***@host/"),
        ("amqps://u:s3cr3t@[::1]:5671/v", "amqps://u:***@[::1]:5671/v"),
        ("amqp://u:1/s3cr3t@host/v", "amqp://u:***@host/v"),
        ("amqp://host/v?password=s3cr3t", "amqp://host/v"),
        ("amqp://host/v?passwrd=a@s3cr3t", "amqp://***@***"),
        ("amqp://u@host/v?passwrd=a@s3cr3t", "amqp://***@***"),
        ("amqp://u:x@host/v?passwrd=a@s3cr3t", "amqp://u:***@***"),
        ("amqp://u:x@s3cr3t?y@host/v", "amqp://u:***@***"),
        ("amqp://u:x@s3cr3t#y@host/v", "amqp://u:***@***"),
        ("amqp://host/v#s3cr3t", "amqp://host/v"),
        ("postgresql://u:s3cr3t@h1:5432,h2:5432/db?sslmode=require", "postgresql://u:***@h1:5432,h2:5432/db?sslmode=require"),
        ("postgresql+asyncpg://u:abc@s3cr3t@127.0.0.1:1/db", "postgresql+asyncpg://u:***@127.0.0.1:1/db"),
        ("postgresql:///db?host=/run/pg&password=s3cr3t&sslpassword=s3cr3t", "postgresql:///db?host=/run/pg"),
        ("sqlite+aiosqlite:////home/a@b/x.db", "sqlite+aiosqlite:////home/a@b/x.db"),
        ("amqp://u:p/s3cr3t@host", MALFORMED),
        ("u:s3cr3t@host/v", MALFORMED),
        ("s3cr3t", MALFORMED),
        ("", MALFORMED),
    ],
)  # fmt: skip
def test_a_url_is_blanked_up_to_the_last_at_but_for_a_plain_user(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert masked(shown) in {shown, MALFORMED}, "what is masked stays so"


@given(st.text(min_size=6), st.sampled_from(["amqp", "amqps", "postgresql", "postgresql+asyncpg"]))
def test_no_password_whatsoever_is_in_a_masked_url(password: str, scheme: str) -> None:
    shown = masked(f"{scheme}://user:{password}@host.example/db")
    assert shown in {f"{scheme}://user:***@host.example/db", f"{scheme}://user:***@***", MALFORMED}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no URL a@b", "no URL a@b"),
        ("at amqp://u:s3cr3t@h/ and a@b", "at amqp://***@h/ and a@b"),
        ("at amqp://u:***@h/, where @ is %40", "at amqp://u:***@h/, where @ is %40"),
        ("'amqp://u:a@s3cr3t@h' failed", "'amqp://***@h' failed"),
        ("amqp://u:***@h,amqp://u:s3cr3t@h", "amqp://***@h"),
        ("https://h/path", "https://h/path"),
        ("at https://h/path?password=a@s3cr3t and", "at https://***@*** and"),
    ],
)
def test_a_text_is_shown_without_the_logins_of_its_urls(text: str, shown: str) -> None:
    assert without_logins(text) == shown


@pytest.mark.parametrize("text", ["://" * 20_000, "a" * 60_000 + "://@", "a://" * 15_000 + "@", "@" * 60_000])
def test_the_longest_text_is_masked_at_once(text: str) -> None:
    began_s = time.process_time()
    without_logins(text)
    assert time.process_time() - began_s < 0.2


def test_a_urls_password_is_a_secret_as_written_and_decoded() -> None:
    assert set(login_secrets("amqp://u:a%40b@h/")) == {"a%40b", "a@b"}
    assert login_secrets("amqp://u:abc@s3cr3t@h/") == ["abc@s3cr3t"]
    assert login_secrets("amqp://u:1/s3cr3t@h/") == ["1/s3cr3t"]
    assert login_secrets("amqp://u:1?s3cr3t@h/") == ["1?s3cr3t"]
    assert set(login_secrets("amqp://u:abc@s3/cr3t@h/")) == {"abc", "abc@s3/cr3t"}
    assert login_secrets("amqp://guest:guest@h/") == login_secrets("amqp://h/") == []


@pytest.mark.parametrize(
    "url",
    [
        "amqp://desk:s3cr3t@h/v?cafile=/a@b/ca.pem",
        "postgresql://desk:s3cr3t@h/db?application_name=desk@here",
        "postgresql://desk:s3cr3t@h/db#a@b",
        "postgresql://desk:s3cr3t@h?options=a:b@c",
    ],
)
def test_an_at_in_the_query_hides_no_password_and_no_user_behind_it(url: str) -> None:
    assert login_secrets(url) == ["s3cr3t"]
    assert login_name(url) == "desk"


NAMES = (
    "percent percnt limt conectorName connectorTokne client_order_id notional position entryOrder stopLoss takeProfit2 "
    "TP SL qty a u10 CONNECTORNAME Content-Type x-request-id authorization limit_price delaySecs"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_a_text_that_looks_like_a_name_is_shown(name: str) -> None:
    assert shown_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31m", "a\\x1b[31m"),
        ("\ud800", "\\ud800"),
        ("tok-4f5e6d7c8b9a", "(a name of 16 characters, not shown)"),
        ("größe", "(a name of 5 characters, not shown)"),
        ("s3cr3t", "(a name of 6 characters, not shown)"),
        ("", "(a name of 0 characters, not shown)"),
        ("n" * 33, "(a name of 33 characters, not shown)"),
    ],
)
def test_a_text_that_does_not_look_like_a_name_is_shown_by_its_length(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_no_random_token_looks_like_a_name() -> None:
    random = Random(15)
    letters = string.ascii_letters
    makers = [
        lambda: f"{random.getrandbits(128):032x}",
        lambda: str(uuid.UUID(int=random.getrandbits(128), version=4)),
        lambda: base64.urlsafe_b64encode(random.randbytes(24)).decode(),
        lambda: base64.b32encode(random.randbytes(20)).decode(),
        lambda: "".join(random.choices(letters + string.digits, k=20)),
    ]
    for make in makers:
        assert sum(looks_like_a_name(make()) for _ in range(2_000)) <= 10
    assert sum(looks_like_a_name("".join(random.choices(letters, k=24))) for _ in range(2_000)) <= 40


@pytest.mark.parametrize(
    "name", ["connectorToken", "ConnectorTokne", "conectorToekn", "authorization", "api_key", "PASSWORD"]
)
def test_a_misspelt_token_is_known_for_one(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize("name", ["connectorName", "clientOrderId", "action", "notional", "log"])
def test_any_other_field_names_no_secret(name: str) -> None:
    assert not names_a_secret(name)


def test_a_publisher_shows_no_password_of_its_own() -> None:
    url = f"amqp://desk:{secrets.token_hex(8)}@127.0.0.1:1/"
    password = url.partition("desk:")[2].partition("@")[0]
    for one in (OrderPublisher(url), SyncOrderPublisher(url), BrokerAddress(url, "signalq")):
        assert password not in f"{one!r} {one}"


@pytest.mark.parametrize("word", ["tokne", "MAIN_TOKEN2", "grid-1", "orders-2026-11-29.csv", "/srv/a_b/c.toml", "設定"])
def test_a_word_that_was_typed_is_repeated(word: str) -> None:
    assert shown_words(word) == shown_path(word) == word


def test_no_token_that_was_typed_in_the_place_of_a_word_is_repeated(tmp_path: Path) -> None:
    tokens = [token for token in (secrets.token_urlsafe(24) for _ in range(500)) if shown_words(token) == token]
    assert len(tokens) <= 2
    assert shown_words("kQ7vX2mN-9pL4wR8s") == "(a name of 17 characters, not shown)"
    assert shown_path("kQ7vX2mN/9pL4wR8s") == "(a name of 17 characters, not shown)"
    assert shown_path(f"{tmp_path}/kQ7vX2mN") == f"{tmp_path}/kQ7vX2mN"
