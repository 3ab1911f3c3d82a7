"""No lane's flood holds up the works of another: pure."""

from __future__ import annotations

from signalq.consumer.ledger.writer import LANE_SHARE, OTHER_WORK_SHARE, FairQueue


def filled(**lanes: int) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for lane, count in lanes.items():
        for number in range(count):
            queue.put(lane, f"{lane}{number}")
    return queue


def test_the_queue_takes_a_share_of_a_flooded_lane_and_all_of_the_others() -> None:
    queue = filled(flood=1000, calm=1)
    assert queue.take(500) == [*(f"flood{number}" for number in range(LANE_SHARE)), "calm0"]
    assert len(queue) == 1000 - LANE_SHARE


def test_within_a_lane_it_is_first_in_first_out_and_nothing_is_left_out() -> None:
    queue = filled(a=3 * LANE_SHARE + 1, b=LANE_SHARE + 2)
    taken: list[str] = []
    while queue:
        taken += queue.take(5)
    for lane, count in (("a", 3 * LANE_SHARE + 1), ("b", LANE_SHARE + 2)):
        assert [name for name in taken if name.startswith(lane)] == [f"{lane}{number}" for number in range(count)]


def test_lanes_that_found_no_place_are_the_first_ones_next_time() -> None:
    queue = filled(a=5, b=5, c=5)
    firsts = [queue.take(4)[0] for _ in range(4)]
    assert firsts == ["a0", "b0", "c0", "a4"]


def test_works_that_take_longer_take_up_more_of_the_share_of_their_lane() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(LANE_SHARE):
        queue.put("flood", f"cancel{number}", OTHER_WORK_SHARE)
    queue.put("mixed", "save")
    queue.put("mixed", "cancel", OTHER_WORK_SHARE)
    for number in range(LANE_SHARE):
        queue.put("mixed", f"save{number}")
    taken = queue.take(500)
    assert taken[: LANE_SHARE // OTHER_WORK_SHARE] == ["cancel0", "cancel1", "cancel2", "cancel3"]
    assert taken[4:] == ["save", "cancel", *(f"save{number}" for number in range(LANE_SHARE - 1 - OTHER_WORK_SHARE))]
