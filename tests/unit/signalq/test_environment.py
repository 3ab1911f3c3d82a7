"""webhook.environment: where orders go is told by the URL alone, and never called harmless where it is the platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from signalq.errors import SettingsError
from signalq.settings.environment import environment_of, told
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings

PLATFORM = "https://api.crypto-arsenal.io/trading-signal/webhook"
SANDBOX = "http://127.0.0.1:8090/sandbox/trading-signal/webhook"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("SIGNALQ_WEBHOOK__URL", raising=False)
    monkeypatch.delenv("SIGNALQ_WEBHOOK__ENVIRONMENT", raising=False)

    def loading(text: str) -> Settings:
        file = tmp_path / "signalq.toml"
        file.write_text(text, "utf-8")
        return load_settings(file)

    return loading


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        (PLATFORM, "live"),
        ("https://API.Crypto-Arsenal.io./other/path?x=1", "live"),
        ("https://api.crypto-arsenal.io/sandbox/trading-signal/webhook", "live"),
        ("https://api\u3002crypto-arsenal\u3002io/x", "live"),
        ("https://\uff41pi.crypto-arsenal.io/sandbox/trading-signal/webhook", "live"),
        (SANDBOX, "sandbox"),
        ("https://try.example.com/sandbox/trading-signal/webhook", "sandbox"),
        ("http://127.0.0.1:8090/trading-signal/webhook", "127.0.0.1"),
        ("http://localhost/", "localhost"),
        ("http://[::1]:8090/x", "::1"),
        ("https://webhook.example.com/orders", "webhook.example.com"),
        ("https://api.crypto-arsenal.io.example.com/x", "api.crypto-arsenal.io.example.com"),
    ],
)
def test_an_environment_is_told_by_the_url_alone(url: str, environment: str) -> None:
    assert environment_of(url) == environment


@pytest.mark.parametrize("word", ["live", "paper", "sandbox", "testnet-2", "模擬"])
def test_an_environment_may_be_any_word(word: str, load) -> None:
    settings = load(f'[webhook]\nurl = "https://h.example/x"\nenvironment = "{word}"\n')
    assert settings.environments() == {word: []}


@pytest.mark.parametrize("word", ["", "two words", "x" * 33, "a/b", "\\u001b[2J"])
def test_an_environment_is_no_sentence_and_no_control_character(word: str, load) -> None:
    with pytest.raises(SettingsError, match=r"webhook\.environment"):
        load(f'[webhook]\nenvironment = "{word}"\n')


def test_the_platform_itself_is_never_called_the_sandbox(load) -> None:
    with pytest.raises(SettingsError, match="url is the platform itself"):
        load('[webhook]\nenvironment = "sandbox"\n')
    with pytest.raises(SettingsError, match="url is the platform itself"):
        load('[webhook]\nenvironment = "sandbox"\nurl = "https://api\u3002crypto-arsenal\u3002io/x"\n')
    assert load('[webhook]\nenvironment = "paper"\n').environments() == {"paper": []}


def test_connectors_with_a_url_of_their_own_are_told_with_where_that_goes(load) -> None:
    text = (
        f'[webhook]\nurl = "{SANDBOX}"\nenvironment = "trial"\n[connectors.main]\nurl = "{PLATFORM}"\n'
        f'[connectors.same]\nurl = "{SANDBOX}"\n[connectors.spot]\n'
    )
    environments = load(text).environments()
    assert environments == {"trial": [], "live": ["main"]}
    assert told(environments) == "trial; live for main"


def test_of_many_connectors_a_few_are_named() -> None:
    assert told({"live": []}) == "live"
    assert told({"live": ["a"], "sandbox": list("bcdefg")}) == "live; sandbox for b, c, d, e and 2 more"
