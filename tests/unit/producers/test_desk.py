"""The desk: a person's words become an order, or a sentence; nothing goes out unasked, and no token is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from signalq import OrderIntent, SyncOrderPublisher, Unconfirmed
from signalq.producers.strategies import desk
from signalq.producers.strategies.command_line import WrongInput, broker, run, token
from signalq.producers.strategies.desk import intent_of, read_flags, trade
from signalq.testing import InMemoryOrderPublisher


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("buy main 25%", {"action": "buy", "percent": "25"}),
        ("BUY main 0.5", {"action": "buy", "fixed": "0.5"}),
        ("openlong main 10% at 64000 profit 71000 loss 61500.5", {
            "action": "openLong", "percent": "10", "limit": "64000", "profit": "71000", "loss": "61500.5",
        }),
        ("sell main 100% in 90", {"action": "sell", "percent": "100", "delay_seconds": 90}),
        ("buy main 1 ID entry-7", {"action": "buy", "fixed": "1", "client_order_id": "entry-7"}),
        ("cancel main id entry-7", {"action": "cancel", "client_order_id": "entry-7"}),
        ("cancelall main", {"action": "cancelAll"}),
    ],
)  # fmt: skip
def test_words_become_an_order(words: str, fields: dict[str, Any]) -> None:
    assert intent_of(words.split()) == OrderIntent(connector_name="main", **fields)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("buy", "needs an action and a connector"),
        ("by main 25%", "by is no action; did you mean buy?"),
        ("openshrt main 25%", "did you mean openShort?"),
        ("buy main", "buy needs a size"),
        ("buy main at 5", "buy needs a size"),
        # Not 25 whole coins.
        ("buy main 25 %", "%: what may follow is at, profit, loss, id, in"),
        ("buy main 25% at", "at: what may follow is at, profit, loss, id, in"),
        ("buy main 25% at 5 at 6", "at: what may follow is at, profit, loss, id, in"),
        ("buy main 25% limit 5", "limit: what may follow is at, profit, loss, id, in"),
        ("buy main 125%", "percent: must be at most 100"),
        ("buy main -1", "fixed: must be a decimal number"),
        ("buy main 1e3", "fixed: must be a decimal number"),
        ("buy main 1,5", "fixed: must be a decimal number"),
        ("buy main 5 profit 9", "profit: is only for openLong"),
        ("cancel main entry-7", "entry-7: what may follow is"),
        ("cancelAll main 25%", "25%: what may follow is"),
        ("cancel main", "clientOrderId: is needed with the action cancel"),
        ("buy main 5 in soon", "delaySeconds: must be a number of seconds"),
    ],
)
def test_a_mistake_is_explained_in_a_sentence(words: str, wrong: str) -> None:
    with pytest.raises(WrongInput) as refusal:
        intent_of(words.split())
    assert wrong in str(refusal.value)


# ---- one order, with the twin in the publisher's place ----

INTENT = intent_of(["buy", "main", "25%"], token="s3cret")


class Desk:
    """The blocking publisher around the twin, and the answers that a person gives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.twin = InMemoryOrderPublisher(strategy="desk")
        monkeypatch.setattr("signalq.publishing.sync.OrderPublisher", lambda *_, **__: self.twin)
        self.orders = SyncOrderPublisher("amqp://nobody/")
        self.asked: list[str] = []

    def trade(self, *answers: bool, wait_s: float = 1.0) -> bool:
        given = iter(answers)

        def confirm(question: str) -> bool:
            self.asked.append(question)
            return next(given)

        with closing(self.orders.__enter__()):
            return trade(self.orders, INTENT, confirm, message_id="id-1", wait_s=wait_s)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_delivery_is_shown_and_the_token_is_not(at: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    at.twin.settle_all("delivered")
    assert at.trade(True)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        '{"connectorName":"main","action":"buy","connectorToken":"***","percent":"25"}',
        "RabbitMQ has it, message_id id-1; waiting for its outcome",
        "delivered, attempts: 1, the webhook answered 200",
    ]
    assert err == ""
    assert at.twin.published[0].intent.connector_token == "s3cret"


def test_nothing_goes_out_without_a_yes(at: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert at.trade(False)
    assert at.twin.published == []
    assert capsys.readouterr().out.endswith("not sent\n")


def test_a_dead_order_is_shown_with_its_reason(at: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    at.twin.settle_all("dead", reason="forbidden")
    assert not at.trade(True)
    out, err = capsys.readouterr()
    assert "dead (forbidden)" in out
    assert err == "`signalq dead show id-1` says more\n"


def test_a_missing_outcome_is_explained_with_the_way_to_find_it(at: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert not at.trade(True, wait_s=0.01)
    assert "signalq orders show id-1" in capsys.readouterr().err


@pytest.mark.parametrize(("answers", "published"), [((True, True), 1), ((True, False), 0)])
def test_an_unconfirmed_order_is_repeated_under_its_identity_or_left(
    at: Desk, answers: tuple[bool, ...], published: int, capsys: pytest.CaptureFixture[str]
) -> None:
    at.twin.fail_next(Unconfirmed)
    at.twin.settle_all("delivered")
    assert at.trade(*answers) == bool(published)
    assert [sent.message_id for sent in at.twin.published] == ["id-1"] * published
    assert at.asked == ["send it?", "repeat it, with the same identity?"]
    assert "its message_id is id-1" in capsys.readouterr().err


def test_the_prompt_takes_one_order_after_the_other_and_lives_through_mistakes(
    at: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at.twin.settle_all("delivered")
    monkeypatch.setattr("sys.stdin", io.StringIO("by main 1\n\nbuy main 1\ny\nsell main 1\nno\nbuy main 2"))
    assert run(desk.main, []) == 0
    out, err = capsys.readouterr()
    assert err == "by is no action; did you mean buy?\n"
    assert [sent.intent.fixed for sent in at.twin.published] == ["1"]
    assert out.count("not sent") == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--yes"],
        ["by", "main", "1"],
        ["buy", "main", "1", "--token-file", "/nowhere"],
        ["buy", "main", "1", "--token-env", "NO_SUCH"],
    ],
)
def test_a_mistake_needs_no_broker(flags: list[str], at: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(desk.main, flags) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_a_broker_it_says_so_in_one_sentence_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://desk:topsecret@127.0.0.1:1/")
    assert run(desk.main, ["--yes", "buy", "main", "5%"]) == 1
    assert capsys.readouterr().err == (
        "no connection to RabbitMQ at amqp://desk:***@127.0.0.1:1/ (connection refused: nothing listens there): start "
        "RabbitMQ, or check host and port in broker.url (SIGNALQ_BROKER__URL)\n"
    )


# ---- the broker and the token, which all three ask for in one way ----


def test_the_broker_is_that_of_the_environment_and_of_this_machine_without_one(tmp_path: Any) -> None:
    assert broker({}).url == "amqp://guest:guest@127.0.0.1:5672/"
    assert broker({}).prefix == "signalq"
    chosen = broker({"SIGNALQ_BROKER__URL": "amqps://there/", "SIGNALQ_BROKER__PREFIX": "desk.a"})
    assert (chosen.url, chosen.prefix) == ("amqps://there/", "desk.a")
    (tmp_path / "url").write_text("amqps://from-a-file/\n", "utf-8")
    assert broker({"SIGNALQ_BROKER__URL_FILE": str(tmp_path / "url")}).url == "amqps://from-a-file/"
    with pytest.raises(WrongInput, match="nowhere, which can't be read"):
        broker({"SIGNALQ_BROKER__URL_FILE": "/nowhere"})
    plain = {"SIGNALQ_BROKER__URL": "amqp://u:topsecret@there/"}
    with pytest.raises(WrongInput, match="is plain amqp:// to another machine") as refused:
        broker(plain)
    assert "topsecret" not in str(refused.value)
    assert broker(plain | {"SIGNALQ_BROKER__ALLOW_PLAIN": "true"}).url == "amqp://u:topsecret@there/"


@pytest.mark.parametrize("main", [desk.main], ids=["desk"])
def test_help_has_examples(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "examples:\n  python -m producers.strategies.desk" in capsys.readouterr().out


def test_a_password_goes_to_another_machine_in_plain_text_only_where_that_is_allowed() -> None:
    url = "amqp://u:kQ7vX2mN@far.example/"
    with pytest.raises(WrongInput, match="plain") as refused:
        broker({"SIGNALQ_BROKER__URL": url})
    assert "kQ7vX2mN" not in str(refused.value)
    assert broker({"SIGNALQ_BROKER__URL": url, "SIGNALQ_BROKER__ALLOW_PLAIN": "true"}).url == url


def test_a_word_typed_for_a_tokens_variable_or_file_is_not_repeated_if_it_may_be_the_token() -> None:
    for flag in ("--token-env", "--token-file"):
        given = read_flags([flag, "kQ7vX2mN-9pL4wR8s", "buy", "main", "1"])
        with pytest.raises(WrongInput) as refused:
            token(given, {})
        assert "kQ7vX2mN" not in str(refused.value)
