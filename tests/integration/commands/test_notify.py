"""`signalq notify` beside a real consumer, broker and ledger, to real HTTP endpoints and a real mail server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq import OrderIntent, OrderPublisher
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.ops.notify.outbox import Message
from signalq.ops.notify.run import Timing
from signalq.ops.notify.services import load_services
from tests.support.amqp import publish_all
from tests.support.broker import Broker, ExternalBroker, through
from tests.support.commands import ROOT, Signalq
from tests.support.consumer import Consumer
from tests.support.notify import FAST, letters, mailbox, messages, notify_process, notifying, service_url, told
from tests.support.proxy import Proxy
from tests.support.secrets_table import CONFIGURED, SECRET, found_in
from tests.support.stores import Store
from tests.support.waiting import elapsed, wait_until
from tests.support.webhook import Answer, CutOff, Webhook

OPEN = OrderIntent(connector_name="main", connector_token="t", action="openLong", percent="50")
SELDOM = Timing(every_s=3600, look_s=0.1, lasts_s=0.3, gather_s=0.3, send_s=10, stop_s=10)


@pytest_asyncio.fixture
async def consumer(broker: Broker, names: Names, webhook: Webhook) -> AsyncIterator[Consumer]:
    """A consumer whose webhook refuses every order."""
    webhook.behave(Answer(status=400, body=b"no"))
    async with Consumer(broker.url, names.prefix, webhook.url) as running:
        await running.started()
        yield running


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Webhook]:
    """The HTTP endpoint that messages go to."""
    async with Webhook() as hook:
        yield hook


@pytest.fixture(autouse=True)
def settings(environment: None) -> None:
    """Every notifier here has the settings of the test's environment."""


async def refuse(orders: OrderPublisher, consumer: Consumer, count: int = 1, **fields: object) -> None:
    """Publish orders that the webhook refuses, and wait for their ends."""
    before = len(consumer.events("intent.settled"))
    for _ in range(count):
        await orders.publish(OPEN.model_copy(update=fields))
    await wait_until(lambda: len(consumer.events("intent.settled")) >= before + count, what="their ends")


async def test_dead_letters_are_told_once_by_reason_and_connector_however_they_were_heard_of(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook, broker: Broker, names: Names
) -> None:
    """By the event and by the ledger; one that was no intent by its event alone."""
    with capture_logs() as log:
        async with notifying(service_url(desk)):
            await wait_until(lambda: [one for one in log if one["event"] == "notify.listening"])
            await refuse(orders, consumer, 3)
            await refuse(orders, consumer, 1, connector_name="alt")
            await publish_all(broker.url, names.orders, "main", [(b"no order", Basic.Properties(message_id="bad"))])
            await wait_until(lambda: len(letters(desk)) == 3)
            await elapsed(1)
    assert letters(desk) == {("rejected", "main"): 3, ("rejected", "alt"): 1, ("invalid", "main"): 1}, told(desk)


async def test_an_order_in_doubt_is_told_first(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook, webhook: Webhook
) -> None:
    async with notifying(service_url(desk)):
        webhook.script(CutOff())
        await refuse(orders, consumer, 1)
        await desk.received(1)
    (said,) = messages(desk)
    assert said["title"].endswith(": 1 in doubt")
    assert said["message"].startswith("1 in doubt (main 1); the platform may have taken them")
    assert said["type"] == "failure"


async def test_at_most_one_message_goes_out_in_the_time_and_the_end_sends_what_is_gathered(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook
) -> None:
    async with notifying(service_url(desk), timing=SELDOM):
        await refuse(orders, consumer, 20)
        await desk.received(1)
        await refuse(orders, consumer, 30)
        await elapsed(1)
        assert len(messages(desk)) == 1
    assert len(messages(desk)) == 2
    assert letters(desk) == {("rejected", "main"): 50}


async def test_the_switch_is_told_with_its_author_and_reason_and_the_end_of_it(
    consumer: Consumer, desk: Webhook, signalq: Signalq
) -> None:
    async with notifying(service_url(desk)):
        assert (await signalq("lanes", "pause", "main", "--why", "exchange maintenance")).status == 0
        await wait_until(lambda: "main is paused" in told(desk))
        assert (await signalq("lanes", "close-only", "--all")).status == 0
        await wait_until(lambda: "all connectors are close-only" in told(desk))
        assert (await signalq("lanes", "resume", "--all")).status == 0
        await wait_until(lambda: "main is open again" in told(desk))
    assert ": exchange maintenance" in told(desk)
    assert told(desk).count("main is paused: by") == 1
    assert told(desk).count("all connectors are open again") >= 1


async def test_a_switch_that_stands_at_the_start_is_told(consumer: Consumer, desk: Webhook, signalq: Signalq) -> None:
    assert (await signalq("lanes", "pause", "main")).status == 0
    async with notifying(service_url(desk)):
        await desk.received(1)
    assert "main is paused" in told(desk)


async def test_the_loss_of_all_consumers_is_told_and_their_return(
    broker: Broker, names: Names, webhook: Webhook, desk: Webhook
) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url) as first:
        await first.started()
        async with notifying(service_url(desk)):
            await elapsed(0.6)
            assert told(desk) == ""
            assert await first.terminate() == 0
            await wait_until(lambda: "no consumer is at work" in told(desk))
            async with Consumer(broker.url, names.prefix, webhook.url) as second:
                await second.started()
                await wait_until(lambda: "consumers are at work again" in told(desk))
    assert told(desk).count("consumers are at work again\n") >= 1


async def test_a_consumer_that_comes_back_at_once_is_no_news(consumer: Consumer, desk: Webhook) -> None:
    patient = Timing(every_s=0.1, look_s=0.05, lasts_s=30, gather_s=0.1)
    async with notifying(service_url(desk), timing=patient):
        await consumer.terminate()
        await elapsed(1)
    assert told(desk) == ""


async def test_letters_that_come_while_the_broker_is_away_from_here_are_found_by_the_ledger(
    orders: OrderPublisher,
    consumer: Consumer,
    desk: Webhook,
    link: Proxy,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    async with notifying(service_url(desk)):
        await elapsed(0.5)
        await link.cut(refuse=True)
        await wait_until(lambda: "RabbitMQ is not reachable" in told(desk))
        await refuse(orders, consumer, 2)
        await wait_until(lambda: letters(desk) == {("rejected", "main"): 2})
        link.heal()
        await wait_until(lambda: "RabbitMQ is reachable again" in told(desk))
        await elapsed(1)
    assert letters(desk) == {("rejected", "main"): 2}


async def test_lanes_that_no_consumer_reads_are_told_although_it_lives(
    broker: Broker, names: Names, webhook: Webhook, desk: Webhook, link: Proxy
) -> None:
    config = "[connectors.main]\n"
    async with Consumer(through(link, broker.url), names.prefix, webhook.url, config=config) as cut_off:
        await cut_off.started()
        async with notifying(service_url(desk), timing=replace(FAST, lane_s=3)):
            await elapsed(0.6)
            assert told(desk) == ""
            await link.cut(refuse=True)
            await wait_until(lambda: "lanes are not read: the shared lane; a consumer lives" in told(desk))
            link.heal()
            await wait_until(lambda: "all lanes are read again" in told(desk))
    assert "no consumer is at work" not in told(desk)


async def test_a_ledger_that_is_not_there_is_told_and_looked_at_once_it_is(
    broker: Broker, names: Names, webhook: Webhook, desk: Webhook
) -> None:
    async with notifying(service_url(desk)):
        await wait_until(lambda: "the ledger is not reachable: there is no ledger at" in told(desk))
        async with Consumer(broker.url, names.prefix, webhook.url) as running:
            await running.started()
            await wait_until(lambda: "the ledger is reachable again" in told(desk))


async def test_a_restart_finds_what_died_meanwhile_and_not_what_was_discarded(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook, signalq: Signalq
) -> None:
    await refuse(orders, consumer, 2)
    assert (await signalq("dead", "discard", "--all", "--yes")).status == 0
    await refuse(orders, consumer, 3)
    for started in (1, 2):
        async with notifying(service_url(desk)):
            await desk.received(started)
    assert [one["message"].splitlines()[0].split(";")[0] for one in messages(desk)] == [
        "3 dead, rejected (main 3)",
        "3 dead, rejected (main 3)",
    ]


async def test_a_service_that_is_away_holds_up_no_other_and_gets_all_of_it_later(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook
) -> None:
    with capture_logs() as log:
        async with Webhook() as late, Proxy(late.port) as way:
            await way.cut(refuse=True)
            async with notifying(f"json://127.0.0.1:{way.port}/{SECRET}", service_url(desk, SECRET)):
                await refuse(orders, consumer, 2)
                await wait_until(lambda: [one for one in log if one.get("failures") == 3], what="three attempts")
                await refuse(orders, consumer, 1, connector_name="alt")
                await wait_until(lambda: letters(desk) == {("rejected", "main"): 2, ("rejected", "alt"): 1})
                way.heal()
                await wait_until(lambda: messages(late))
    (said,) = messages(late)
    assert said["message"].startswith("3 dead, rejected (main 2, alt 1)")
    failed = [one for one in log if one["event"] == "notification.not_taken"]
    assert {one["service"] for one in failed} == {"URL 1 (json)"}
    assert all("connection" in one["why"].lower() for one in failed)
    assert not found_in(str(log))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(status=500, body=b"x"), "error=500"),
        (Answer(status=401, body=SECRET.encode()), "error=401"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), "error=302"),
        (CutOff(), "onnection"),
    ],
)
async def test_a_refusal_is_told_in_the_log_and_tried_again(
    consumer: Consumer, desk: Webhook, orders: OrderPublisher, answer: Answer, says: str
) -> None:
    with capture_logs() as log:
        async with notifying(service_url(desk, SECRET)):
            desk.script(answer, answer)
            await refuse(orders, consumer, 1)
            await wait_until(lambda: [one for one in log if one["event"] == "notification.sent"])
    assert [says in one["why"] for one in log if one["event"] == "notification.not_taken"] == [True, True]
    assert not found_in(str(log))


async def test_an_attempt_that_hangs_is_the_only_one_until_it_ends_and_then_the_next_one_goes(desk: Webhook) -> None:
    (service,) = load_services([service_url(desk)])
    message = Message("title", "body", "warning", Counter(), {})
    desk.script(Answer(delay_s=1.5))
    assert (await service.send(message, timeout_s=0.5)).why == "no answer within 0.5 s"
    assert (await service.send(message, timeout_s=0.5)).why == "an attempt before this one has not ended yet"
    await wait_until(lambda: desk.orders[0].answered_ns is not None, what="the answer that came too late")
    await elapsed(0.5)
    for _ in range(20):
        assert (await service.send(message, timeout_s=10)).is_taken
    assert len(messages(desk)) == 21


async def test_a_mail_server_takes_it_as_a_mail(consumer: Consumer, orders: OrderPublisher) -> None:
    async with mailbox() as box, notifying(box.url):
        await refuse(orders, consumer, 1)
        await wait_until(lambda: box.mails)
    (mail,) = box.mails
    assert mail["subject"].endswith(": 1 dead letter")
    assert mail["to"] == "desk@example.com"
    body = mail.get_body(("plain", "html"))
    assert body is not None
    assert "1 dead, rejected (main 1); the webhook refused them" in body.get_content()


async def test_a_recipient_that_refuses_does_not_make_the_others_get_it_again_and_again(
    consumer: Consumer, orders: OrderPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: apprise sends a mail 5.5 s after the one before, no sooner."""
    monkeypatch.setattr("apprise.plugins.email.NotifyEmail.request_rate_per_sec", 0)
    with capture_logs() as log:
        async with mailbox() as box, notifying(box.url_to("anna", "bob")):
            box.refused.add("bob@example.com")
            await refuse(orders, consumer, 1)
            await wait_until(lambda: [one for one in log if one["event"] == "notification.not_taken_by_all"])
            await elapsed(1)
            assert [mail["to"] for mail in box.mails] == ["anna@example.com"]
            box.refused.clear()
            await refuse(orders, consumer, 1)
            await wait_until(lambda: len(box.mails) == 3)
            assert {mail["to"] for mail in box.mails[1:]} == {"anna@example.com", "bob@example.com"}
            box.refused |= {"anna@example.com", "bob@example.com"}
            await refuse(orders, consumer, 1)
            await wait_until(lambda: [one for one in log if one.get("failures") == 2], what="two attempts")
            box.refused.clear()
            await wait_until(lambda: len(box.mails) == 5)
    whys = [one["why"] for one in log if one["event"].startswith("notification.not_taken")]
    assert whys
    assert not [why for why in whys if "bob" in why or "example" in why]


async def test_sigterm_sends_what_is_gathered_and_ends_it_with_status_0(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook
) -> None:
    async with notify_process([service_url(desk, SECRET)]) as running:
        assert running.events("notify.started")[0]["services"] == ["URL 1 (json)"]
        await refuse(orders, consumer, 2)
        assert await running.end() == 0
        assert [line["event"] for line in running.log][-2:] == ["notification.sent", "notify.stopped"]
    assert "2 dead, rejected (main 2)" in told(desk)
    assert not found_in(str(running.log))


async def test_the_last_message_has_the_news_of_the_last_look(
    orders: OrderPublisher,
    consumer: Consumer,
    desk: Webhook,
    broker: Broker,
    link: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its events are cut off, so that only the last look finds the second letter; the first one waits for company."""
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    timing = Timing(every_s=3600, look_s=3600, lasts_s=3600, gather_s=3600, last_look_s=30)
    with capture_logs() as log:
        async with notifying(service_url(desk), timing=timing):
            await wait_until(lambda: [one for one in log if one["event"] == "notify.listening"])
            await refuse(orders, consumer, 1)
            await elapsed(0.5)
            await link.cut(refuse=True)
            await refuse(orders, consumer, 1)
    assert letters(desk) == {("rejected", "main"): 2}, told(desk)
    assert len(messages(desk)) == 1


async def test_a_service_that_never_answers_does_not_keep_it_from_ending(
    orders: OrderPublisher, consumer: Consumer, broker: Broker
) -> None:
    """The connection is taken and nothing comes of it; apprise gives up after the time that its URL says (4 s)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with notify_process([f"json://127.0.0.1:{port}/{SECRET}?rto=1"]) as running:
            await refuse(orders, consumer, 1)
            assert await running.end() == 0
            assert len(running.events("notification.lost")) == 1
    assert not found_in(str(running.log))


# ---- secrets ----


async def test_no_secret_is_in_a_message_or_in_the_log_wherever_it_was_planted(
    broker: Broker,
    names: Names,
    webhook: Webhook,
    desk: Webhook,
    signalq: Signalq,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In each field that a producer, a webhook or an operator can write; the table of all is in test_secrets.py."""
    config = f'[connectors.main]\ntoken = "{CONFIGURED}"\n'
    (tmp_path / "signalq.toml").write_text(config, "utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(tmp_path / "signalq.toml"))
    webhook.behave(Answer(status=400, body=f"{CONFIGURED} and {SECRET} are wrong".encode()))
    async with (
        Consumer(broker.url, names.prefix, webhook.url, config=config) as consumer,
        notify_process([service_url(desk, SECRET)], SIGNALQ_NOTIFY__EVERY_S="1") as running,
    ):
        await consumer.started()
        await wait_until(lambda: running.events("notify.listening"))
        planted = [
            (b'{"connectorName":"main","action":"buy","fixed":"1","log":"%s"}' % SECRET.encode(), "main", "id-1"),
            (b'{"connectorName":"%s","action":"buy"}' % SECRET.encode(), "main", "id-2"),
            (b"nonsense", SECRET, "id-3"),
            (b"nonsense", CONFIGURED, SECRET),
            (b'{"connectorName":"main","action":"%s"}' % SECRET.encode(), "main", CONFIGURED),
        ]
        for body, key, message_id in planted:
            properties = Basic.Properties(message_id=message_id, app_id=SECRET, headers={"signalq-strategy": SECRET})
            await publish_all(broker.url, names.orders, key, [(body, properties)])
        await wait_until(lambda: len(consumer.events("intent.settled")) == len(planted), what="their ends")
        for connector in (SECRET, "main"):
            ran = await signalq("lanes", "pause", connector, "--why", f"{SECRET} {CONFIGURED}")
            assert ran.status == 0, ran.err
        await wait_until(lambda: "main is paused" in told(desk))
        assert await running.end() == 0
    assert "dead, invalid" in told(desk)
    assert not found_in(told(desk))
    assert not found_in(str(running.log))


# ---- the command ----


async def test_a_dry_run_shows_the_message_sends_nothing_and_ends(
    orders: OrderPublisher, consumer: Consumer, desk: Webhook, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = await signalq("notify", "--dry-run")
    assert (quiet.status, quiet.out) == (0, "")
    assert "nothing needs a person now" in quiet.err
    await refuse(orders, consumer, 2)
    monkeypatch.setenv("SIGNALQ_NOTIFY__URLS", service_url(desk, SECRET))
    ran = await signalq("notify", "--dry-run")
    assert ran.status == 0, ran.err
    title, _, *body = ran.out.splitlines()
    assert title.endswith(": 2 dead letters")
    assert body[0].startswith("2 dead, rejected (main 2)")
    assert ran.err == "this would go to URL 1 (json)\n"
    assert messages(desk) == []
    monkeypatch.delenv("SIGNALQ_NOTIFY__URLS")
    assert "it would go to nobody" in (await signalq("notify", "--dry-run")).err


@pytest.mark.parametrize(
    ("urls", "arguments", "says"),
    [
        (None, (), "notify.urls is not set: name the services to send to"),
        (f"slak://{SECRET}", (), "notify.urls: URL 1 (slak) is none that apprise can use"),
        (f"json://127.0.0.1/ tgram://{SECRET}", ("--dry-run",), "notify.urls: URL 2 (tgram) is none that apprise"),
        (SECRET, (), "notify.urls: must be URLs of apprise"),
        ("json://127.0.0.1/", ("now",), "there is an argument too many: now"),
        ("json://127.0.0.1/", ("--dryrun",), "--dry-run"),
    ],
)
async def test_wrong_use_is_one_sentence_and_shows_no_url(
    urls: str | None, arguments: tuple[str, ...], says: str, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    if urls is not None:
        monkeypatch.setenv("SIGNALQ_NOTIFY__URLS", urls)
    ran = await signalq("notify", *arguments)
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, "", 1), ran.err
    assert says in ran.err
    assert not found_in(ran.err)


async def test_without_apprise_one_sentence_says_how_to_get_it(desk: Webhook) -> None:
    program = (
        "import sys; sys.modules['apprise'] = None\n"
        "sys.argv = ['signalq', 'notify']\n"
        "from signalq.ops.__main__ import main; main()"
    )
    environment = {"SIGNALQ_NOTIFY__URLS": service_url(desk, SECRET), "PATH": "", "HOME": "/"}
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
    assert "the package apprise is not installed: pip install '.[notify]'" in ran.stderr


# ---- rights ----


async def test_a_role_that_may_only_select_is_enough_for_a_ledger_on_postgresql(
    broker: PrivateRabbitMQ | ExternalBroker,
    names: Names,
    webhook: Webhook,
    desk: Webhook,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    stack: AsyncExitStack,
) -> None:
    webhook.behave(Answer(status=400))
    async with Consumer(broker.url, names.prefix, webhook.url, {"ledger.url": postgres_url}) as running:
        await running.started()
        async with OrderPublisher(broker.url, strategy="momentum", prefix=names.prefix) as orders:
            await refuse(orders, running, 2)
        store = Store(postgres_url, stack)
        role = f"reader_{names.prefix.replace('-', '_').replace('.', '_')}".lower()
        await store.run(f"CREATE ROLE {role} LOGIN PASSWORD 'a-password'")
        try:
            await store.run(f"GRANT USAGE ON SCHEMA public TO {role}")
            await store.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
            login, _, rest = postgres_url.partition("://")[2].rpartition("@")
            assert login
            monkeypatch.setenv("SIGNALQ_LEDGER__URL", f"postgresql+asyncpg://{role}:a-password@{rest}")
            async with notifying(service_url(desk), timing=FAST):
                await desk.received(1)
        finally:
            await store.run(f"DROP OWNED BY {role}")
            await store.run(f"DROP ROLE {role}")
    assert "2 dead, rejected (main 2)" in told(desk)
    assert "not reachable" not in told(desk)
