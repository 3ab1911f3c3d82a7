"""Freezing a consumer at a chosen moment, and what may be out of order after it thaws."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing

from tests.support.consumer import Consumer
from tests.support.postgres import connected
from tests.support.scene import Scene
from tests.support.waiting import elapsed, wait_until


def begun_before_the_freeze(play: Scene) -> set[str]:
    """What was claimed and not concluded: it is in doubt, or was repeated where that is safe. What the frozen one had
    begun to POST can arrive when it thaws, after later ones: the one limit of order.
    """
    doubted = {letter.key for letter in play.accountant.letters if "the consumer ended" in letter.detail}
    posts = Counter(post.key for post in play.accountant.posts)
    safe = {intent.key for intent in play.producer.intents if intent.repeating_is_safe and posts[intent.key] > 1}
    return doubted | safe


async def freeze(play: Scene, consumer: Consumer, *, in_a_transaction: bool) -> None:
    """Freeze it while its ledger has a transaction open, or while it has none."""

    async def at_the_right_moment() -> bool:
        consumer.freeze()
        if await _has_a_transaction(play.ledger_url) == in_a_transaction:
            return True
        consumer.thaw()
        await elapsed(play.rng.uniform(0, 0.02))
        return False

    await wait_until(at_the_right_moment, what="a freeze at the right moment")


async def _has_a_transaction(ledger_url: str) -> bool:
    if ledger_url.startswith("sqlite"):
        return await asyncio.to_thread(is_locked, ledger_url.partition(":///")[2])
    connection = await connected(ledger_url)
    try:
        states = await connection.fetch("SELECT state FROM pg_stat_activity WHERE datname = current_database()")
    finally:
        await connection.close()
    return any((row["state"] or "").startswith("idle in transaction") for row in states)


def is_locked(file: str) -> bool:
    """Whether somebody has a transaction open on a ledger's file that writes."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0.1)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False
