"""The naive peer of `signalq publish FILE`: each line is read as JSON and published, IN_FLIGHT at a time."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from benchmarks.publishing.bare import publishing
from benchmarks.publishing.own import IN_FLIGHT


async def main() -> None:
    """Publish the file of the command line."""
    with Path(sys.argv[1]).open("rb") as lines:  # noqa: ASYNC230 - nothing else goes on here
        async with publishing() as publish:

            async def one_after_the_other() -> None:
                for line in lines:
                    await publish(json.dumps(json.loads(line)).encode())

            await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(main())
