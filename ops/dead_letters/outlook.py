"""The outlook of letters by the ledger alone: which would be replayed, and which need a person.

A verdict reads the queue, and the queue has one reader; an outlook reads rows, so a page can have it. The verdict may
say more, for it has the body: see rules.judge_by_ledger.
"""

from signalq.consumer.ledger.queries.letters import Listed
from signalq.consumer.ledger.queries.replays import Standing
from signalq.consumer.orders.delays import DAY_MS
from signalq.consumer.orders.read import max_age_s
from signalq.message.field_rules import EXIT_ACTIONS
from signalq.ops.dead_letters.actions import LetterResult, result_of
from signalq.ops.dead_letters.rules import Facts, ReplayTerms, judge_by_ledger
from signalq.settings.sections import Settings


def outlook(row: Listed, standing: Standing | None, settings: Settings, now_ms: int) -> LetterResult:
    """The result that a replay without a person's word would have, as far as the ledger can tell."""
    terms = ReplayTerms(now_ms, round(settings.ledger.retention_days * DAY_MS), force=False)
    facts = None if standing is None else _facts(row, standing, settings, now_ms)
    return result_of(judge_by_ledger(row.generation, facts, standing, terms))


def is_exit(settings: Settings, connector: str | None, action: str | None) -> bool:
    """Whether an action ends a position or an order, by its connector's settings."""
    sell_is_exit = settings.connector(connector or "").spot_sell_is_exit
    return action in EXIT_ACTIONS or (sell_is_exit and action == "sell")


def _facts(row: Listed, standing: Standing, settings: Settings, now_ms: int) -> Facts:
    exits = is_exit(settings, row.connector, row.action)
    age_from_ms = standing.due_ms if standing.due_ms is not None else standing.created.age_ms
    allowed_s = max_age_s(settings.connector(row.connector or ""), settings, is_exit=exits)
    return Facts(exits, now_ms - age_from_ms, allowed_s)
