"""docs/tradingview.md: what it tells people to paste into TradingView is an order to the gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from signalq.message.field_rules import Action
from signalq.producers.gateway.alerts import Alert, Reading, Refusal, Rules, read_batch, token_digest
from signalq.settings.sources import load_settings

PAGE = Path(__file__).parents[3] / "docs" / "tradingview.md"
TEXT = PAGE.read_text(encoding="utf-8")
TOKEN = "a-token"
DELAY_MAX_S = 604_800
NOW_MS = 1_769_860_801_000

# What TradingView puts in their place.
PLACEHOLDERS = {
    "strategy.order.alert_message": "",
    "strategy.order.action": "sell",
    "strategy.order.contracts": "0.0375",
    "strategy.order.price": "64250.1",
    "strategy.order.id": "Long Entry",
    "strategy.order.comment": "scale out 1",
    "strategy.market_position": "flat",
    "strategy.prev_market_position": "long",
    "strategy.market_position_size": "0",
    "strategy.prev_market_position_size": "0.0375",
    "strategy.position_size": "-0.0375",
    "ticker": "BTCUSDT.P",
    "exchange": "BINANCE",
    "interval": "15",
    **dict.fromkeys(("open", "high", "low", "close", "volume"), "64250.10"),
    **dict.fromkeys(("time", "timenow"), "2026-01-31T12:00:00Z"),
    **dict.fromkeys(("plot_0", "plot_19", 'plot("Name")'), "1.5"),
}

# What the names in the scripts stand for; `intent` and `price` are the scripts' own functions.
PINE = {"connector": "main", "token": TOKEN, "waiting": "entry-1769860800000"}
# What stands between two `+`: a text, or a name, perhaps with arguments, in which no text holds a bracket.
PINE_PART = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|([\w.]+)(\([^()]*\))?)\s*(?:\+|$)""")
PINE_CALLS = {"price": '"64250.1"', "str.tostring": "64250.1"}
# Up to the bracket that ends the call: texts, and brackets within brackets.
PINE_CALL = re.compile(r"""intent\("(\w+)", ((?:'[^']*'|"[^"]*"|\([^()]*\)|[^()'"])+)\)""")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)


def filled(message: str) -> str:
    """With what TradingView knows; a placeholder that it doesn't know fails the test."""
    return re.sub(r"{{(.+?)}}", lambda found: PLACEHOLDERS[found[1]], message).replace("…", TOKEN)


def joined(expression: str, names: dict[str, str]) -> str:
    """The text that a Pine expression of texts, names and calls, joined by `+`, gives."""
    parts, at = "", 0
    while at < len(expression):
        found = PINE_PART.match(expression, at)
        assert found, f"not an expression that this test reads: {expression[at:]}"
        single, double, name, call = found.groups()
        parts += (single or double or "") if name is None else PINE_CALLS[name] if call else names[name]
        at = found.end()
    return parts


def messages_of(script: str) -> Iterator[str]:
    """The message of each order in a script, as its `intent` function puts it together."""
    (body,) = re.findall(r"^intent\(string action, string more\) =>\n    (.+)$", script, re.MULTILINE)
    for action, more in PINE_CALL.findall(script):
        yield joined(body, PINE | {"action": action, "more": joined(more, PINE)})


def read(message: str, token: str = TOKEN) -> tuple[Alert, ...] | Refusal:
    reading = Reading(lambda _connector: Rules(token_digest(token)), delay_max_s=DELAY_MAX_S, time_field="time")
    found = read_batch(message.encode(), reading, NOW_MS)
    return found if isinstance(found, Refusal) else found.alerts


SCRIPTS = blocks("pine")
MESSAGES = [filled(message) for message in blocks("json")]
MESSAGES += [message for script in SCRIPTS for message in messages_of(script)]


def test_the_page_has_scripts_of_both_kinds_and_messages_in_all_of_them() -> None:
    assert len(blocks("json")) == 6
    assert [len(list(messages_of(script))) for script in SCRIPTS] == [2, 4, 2, 2]
    assert all(script.startswith("//@version=6\n") for script in SCRIPTS)
    calls = sum(script.count("intent(") for script in SCRIPTS)
    assert calls == sum(len(list(messages_of(script))) + 1 for script in SCRIPTS), "one that the test does not read"


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_on_the_page_is_an_order(message: str) -> None:
    alerts = read(message)
    assert not isinstance(alerts, Refusal), alerts
    written = json.loads(message)
    for alert, order in zip(alerts, written if isinstance(written, list) else [written], strict=True):
        assert alert.created_ms == (1_769_860_800_000 if "time" in order else None)
        assert json.loads(alert.body) == {name: value for name, value in order.items() if name != "time"}
    assert isinstance(read(message, token="another"), Refusal)


def test_a_message_with_a_mistake_would_be_found() -> None:
    assert {len(found) for message in MESSAGES if not isinstance(found := read(message), Refusal)} == {1, 2}
    broken = MESSAGES[0].replace('"fixed"', '"size"')
    assert broken != MESSAGES[0]
    assert isinstance(read(broken), Refusal)
    with pytest.raises(KeyError):
        filled("{{strategy.order.side}}")


def test_every_placeholder_in_the_table_is_known_and_no_other_is_on_the_page() -> None:
    assert set(re.findall(r"{{(.+?)}}", TEXT)) == set(PLACEHOLDERS)


def test_the_table_maps_to_actions_that_there_are() -> None:
    table = TEXT.split("| in Pine | action |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert named - {"alert"} <= set(get_args(Action))
    assert named >= {"buy", "sell", "openLong", "closeLong", "openShort", "closeShort", "cancel", "cancelAll"}


def test_the_settings_on_the_page_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_TOKEN", TOKEN)
    monkeypatch.setenv("GATEWAY_PATH_SECRET", "s3cret-path-of-16")
    (example,) = blocks("toml")
    file = tmp_path / "signalq.toml"
    file.write_text(re.sub("^   ", "", example, flags=re.MULTILINE), encoding="utf-8")
    gateway = load_settings(file).gateway
    assert (len(gateway.sources), gateway.time_field) == (4, "time")


def test_json_blocks_are_json_before_anything_is_filled_in() -> None:
    """So that TradingView's dialog shows no surprise, and sends application/json."""
    for message in blocks("json"):
        assert isinstance(json.loads(message), dict | list)
