"""The order in which several workers get the tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.spreading import spread


def items(file: str, count: int) -> list[Any]:
    return [SimpleNamespace(nodeid=f"{file}::test_{number}") for number in range(count)]


SLOW = [f"tests/integration/test_{number}.py" for number in range(6)]
ALL = [
    *items("tests/browser/test_a.py", 2),
    *items("tests/browser/test_b.py", 2),
    *(item for file in SLOW for item in items(file, 5)),
    *items("tests/unit/docs/test_site.py", 1),
    *items("tests/unit/test_quick.py", 100),
]


def test_every_test_is_there_once() -> None:
    for workers in range(1, 7):
        got = [item.nodeid for item in spread(ALL, workers)]
        assert sorted(got) == sorted(item.nodeid for item in ALL)


def test_each_part_has_its_share_of_whole_files_and_ends_with_quick_ones() -> None:
    workers = 4
    spread_out = spread(ALL, workers)
    size = len(ALL) // workers
    parts = [spread_out[at * size : (at + 1) * size] for at in range(workers)]
    files = [{item.nodeid.partition("::")[0] for item in part} & set(SLOW) for part in parts]
    assert [len(part) for part in files] == [1, 2, 2, 1]
    assert set.union(*files) == set(SLOW)
    assert sum(map(len, files)) == len(SLOW), "none is in two parts"
    assert all(part[-1].nodeid.startswith("tests/unit/test_quick.py") for part in parts)
    assert [len({item.nodeid for item in part if "/browser/" in item.nodeid}) for part in parts] == [4, 0, 0, 0]
