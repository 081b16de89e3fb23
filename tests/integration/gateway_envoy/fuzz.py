"""Our transcoder beside Envoy's: ``python -m tests.integration.gateway_envoy.fuzz --requests 20000 --seed 1``.

Both get the same random requests; the requests that their handlers decode, and what both answer, must be the same, or
differ in a way that `explanations.py` knows. Anything else is printed with its seed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from google.protobuf.descriptor import ServiceDescriptor
from rich.console import Console
from rich.progress import Progress

from tests.integration.gateway_envoy.explanations import explain
from tests.integration.gateway_envoy.generator import Generator, Request
from tests.integration.gateway_envoy.http1 import Connection
from tests.integration.gateway_envoy.outcome import Outcome, read
from tests.integration.gateway_envoy.sides import FUZZ_ID, Sides, both

CONNECTIONS = 8
SHOWN = 10


@dataclass(slots=True)
class Report:
    """Counts of a run, and the first differences that nothing explains."""

    seed: int
    same: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    called: int = 0

    def add(self, service: ServiceDescriptor, request: Request, theirs: Outcome, ours: Outcome) -> None:
        """Compares one pair."""
        self.called += theirs.called and ours.called
        found = explain(service, request, theirs, ours)
        if found == "":
            self.same += 1
        elif found is not None:
            self.explained[found] += 1
        else:
            self.unexplained.append(f"seed {self.seed}, {request}\n  envoy {theirs}\n  ours  {ours}")

    def lines(self) -> Iterator[str]:
        """The closing summary."""
        for name, count in self.explained.most_common():
            yield f"{count:7,} {name}"
        total = sum(self.explained.values())
        yield f"{self.called:,} requests reached both handlers"
        yield f"{self.same:,} same, {total:,} explained, {len(self.unexplained):,} unexplained"


async def _one(sides: Sides, request: Request, theirs: Connection, ours: Connection) -> tuple[Outcome, Outcome]:
    key = str(request.index)
    headers = {**request.headers, FUZZ_ID: key}
    at_envoy, at_ours = await asyncio.gather(
        theirs.send(request.verb, request.target, headers, request.body),
        ours.send(request.verb, request.target, headers, request.body),
    )
    return (
        read(sides.service, sides.at_envoy.take(key), at_envoy, request.verb, whole=True),
        read(sides.service, sides.at_ours.take(key), at_ours, request.verb, whole=False),
    )


async def compare(requests: range, seed: int, tick: Callable[[], object] = lambda: None) -> Report:
    """Sends the requests of these numbers to both sides.

    Args:
        requests: numbers under the seed.
        seed: of the generator.
        tick: called after each request.
    """
    report = Report(seed)
    async with both() as sides:
        generator, numbers = Generator(sides.service, seed), iter(requests)

        async def work() -> None:
            theirs, ours = Connection(sides.envoy_port), Connection(sides.our_port)
            try:
                for number in numbers:
                    request = generator.request(number)
                    report.add(sides.service, request, *await _one(sides, request, theirs, ours))
                    tick()
            finally:
                await theirs.close()
                await ours.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(work())
    return report


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.gateway_envoy.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="of the generator (default 1)")
    parser.add_argument("--first", type=int, default=0, help="number of the first request, to repeat one (default 0)")
    chosen = parser.parse_args()
    numbers = range(chosen.first, chosen.first + chosen.requests)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("requests", total=len(numbers))
        report = asyncio.run(compare(numbers, chosen.seed, lambda: progress.advance(bar)))
    for text in report.unexplained[:SHOWN]:
        print(f"UNEXPLAINED {text}")
    if len(report.unexplained) > SHOWN:
        print(f"… and {len(report.unexplained) - SHOWN} more unexplained")
    for line in report.lines():
        print(line)
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
