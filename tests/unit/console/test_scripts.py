"""The parts of the page's script that can be judged without a browser, in Node."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from signalq.ops.console.rendering.render import STATIC, briefly
from tests.support.node import node

SOURCE = (STATIC / "console.js").read_text("utf-8")
NODE_TIMEOUT_S = 30


def called(function: str, arguments: list[Any]) -> list[Any]:
    """What a function of the script answers to each of these."""
    found = re.search(rf"^export (function {function}\(.*?^}})$", SOURCE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"console.js exports no {function}"
    script = f"{found[1]}\nconsole.log(JSON.stringify({json.dumps(arguments)}.map((one) => {function}(one))))"
    command = [node(), "-e", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=NODE_TIMEOUT_S, check=True)  # noqa: S603
    answers: list[Any] = json.loads(ran.stdout)
    return answers


def test_the_script_writes_durations_as_the_server_does() -> None:
    seconds = [
        0,
        0.4,
        1,
        9.94,
        9.999,
        10,
        41,
        59.999,
        60,
        61,
        599,
        600,
        3_599,
        3_600,
        7_380,
        86_399,
        86_400,
        266_400,
        1e7,
    ]
    durations = [-5, *(round(one * 1000) for one in seconds)]
    assert called("briefly", durations) == [briefly(one) for one in durations]


def test_the_fewest_rows_that_have_to_move_are_counted() -> None:
    cases = {"": 0, "012": 0, "120": 1, "201": 1, "210": 2, "4012356": 1, "0213": 1}
    assert called("outOfOrder", [[int(one) for one in case] for case in cases]) == list(cases.values())
