"""The notices on dead letters: in doubt, fresh, waiting for long, and a queue that differs from the ledger. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from signalq.consumer.ledger.queries.present import LetterGroup
from signalq.ops.console.moment.notices import each, path_with, said
from signalq.ops.console.moment.snapshot import Notice, Snapshot
from signalq.ops.terminal.plain import plural

WAIT_MS = 6 * 3_600_000
# Two counts that differ by the same number for so long are no two moments of one count.
DIFFERS_MS = 10_000
DIFFERS = "letters-differ"
IN_DOUBT = "outcome-unknown"
# For these somebody has to look at once.
GRAVE_REASONS = frozenset({IN_DOUBT, "unauthorized", "undeliverable"})
# The advice for each reason; docs/operate/dead-letters.md has it in full.
ADVICE: Mapping[str, str] = {
    IN_DOUBT: "Look on the platform first, then replay or discard",
    "invalid": "Its producer sends what is no order: mend that",
    "unauthorized": "A wrong user or token, or somebody tries: look who published it",
    "forbidden": "Over a limit, or close-only: move the limit, or leave it",
    "expired": "Too old to be sent: look why it waited",
    "superseded": "A later exit took its place: nothing to do",
    "rejected": "A wrong token, or a closed connector? Mend that, then replay",
    "exhausted": "Tried in vain: look at the platform, then replay",
    "undeliverable": "A mistake in signalq: report it",
}


def of_doubts(doubts: Sequence[LetterGroup]) -> Iterator[Notice]:
    """Orders of which nobody knows whether they were taken."""

    def tell(group: LetterGroup) -> Notice:
        orders = "an order" if group.count == 1 else f"{group.count:,} orders"
        return _on_letters("doubt", f"{orders} may have gone out, and nobody knows", group, "Letters")

    yield from each(doubts, tell, "groups of letters are in doubt", is_grave=True)


def of_fresh(fresh: Sequence[LetterGroup]) -> Iterator[Notice]:
    """The letters of the last 10 minutes that are there still, by reason."""

    def tell(group: LetterGroup) -> Notice:
        status = f", HTTP {group.http_status}" if group.http_status is not None else ""
        reason = said(group.reason or "no reason of ours")
        return _on_letters("fresh", f"{plural(group.count, 'letter')} in 10 min: {reason}{status}", group, "Group")

    others = [group for group in fresh if group.reason != IN_DOUBT]
    yield from each(others, tell, "groups of letters in 10 min")


def of_all(now: Snapshot, differs: tuple[int, int] | None) -> Iterator[Notice]:
    """The letters as a whole; `differs` is how many more than the ledger the queue has, and since when."""
    letters, links = now.letters, (("Dead letters", "/dead"),)
    if letters.oldest_ms is not None and now.now_ms - letters.oldest_ms >= WAIT_MS:
        waits = plural(letters.count, "letter waits", "letters wait")
        yield Notice("letters", f"{waits} for somebody", is_grave=False, since_ms=letters.oldest_ms, links=links)
    if differs is not None and now.now_ms - differs[1] >= DIFFERS_MS:
        more, since_ms = differs
        than = f"{more:,} more than the ledger knows" if more > 0 else f"{-more:,} fewer than the ledger says"
        yield Notice(
            DIFFERS,
            f"the queue of dead letters has {than}",
            is_grave=False,
            since_ms=since_ms,
            links=links,
            advice="Read the queue: the ledger learns from that what is there",
        )


def _on_letters(kind: str, sentence: str, group: LetterGroup, words: str) -> Notice:
    return Notice(
        f"{kind}:{group.reason}:{group.connector}:{group.http_status}",
        sentence,
        is_grave=group.reason in GRAVE_REASONS,
        since_ms=group.first_ms,
        on=group.connector or "",
        links=((words, path_with("/dead", reason=group.reason, connector=group.connector)),),
        advice=ADVICE.get(group.reason or "", "Look what it is"),
    )
