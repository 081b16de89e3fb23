"""``python -m tests.side_by_side``: the whole suite in nine processes, since most of it waits for servers.

Three processes run the acceptance tests, two those of the server, two the others that start servers and commands, the
last two all the rest. What the first prints is seen as it comes, the others' once they have ended. The
exit status is 0 only where all are well; options go to all.

Nine processes on two cores stretch every time-out, so up to ``FEW`` failed tests are tried once more with the machine
to themselves. Who passes then is named at the end under "flaky", since the race is still to be found; a test that fails
twice, or more failed tests than ``FEW``, fail the run.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SERVING = {"acceptance": 3, "server": 2, "integration": 2}
"""Kinds of tests that mostly wait, and their processes; `server` is that folder of `integration`."""
FEW = 3
"""How many failed tests of all parts together are tried once more."""
SOME_FAILED = int(pytest.ExitCode.TESTS_FAILED)


def parts() -> list[list[str]]:
    """The folders and files with tests, by the process that runs them."""
    kinds: dict[str, list[str]] = {}
    for file in sorted(TESTS.glob("*/**/test_*.py")):
        path = file.relative_to(TESTS)
        kind = "server" if path.parts[:2] == ("integration", "server") else path.parts[0]
        kinds.setdefault(kind, []).append(f"tests/{path.as_posix()}")
    dealt = [kinds[kind][at::many] for kind, many in SERVING.items() for at in range(many)]
    rest = sorted(kinds.keys() - SERVING.keys())
    return dealt + [[f"tests/{kind}" for kind in part] for part in (rest[:2], rest[2:])]


class Part:
    """The tests of some folders and files, run by a process with a cache of its own."""

    def __init__(self, cache: Path, folders: list[str], options: list[str]) -> None:
        self.title = f"{folders[0]} and {len(folders) - 1} more"
        self._failed = cache / "v" / "cache" / "lastfailed"
        self._failed.unlink(missing_ok=True)
        self.command = [sys.executable, "-m", "pytest", "-q", *options, "-o", f"cache_dir={cache}", *folders]
        self.status = 0

    def failed(self) -> list[str]:
        """Which tests failed, by pytest's own record."""
        return sorted(json.loads(self._failed.read_text())) if self._failed.exists() else []

    def again(self) -> None:
        """Tries those that failed once more."""
        self.status = subprocess.run([*self.command, "--last-failed"], check=False).returncode


def second_try(parts: list[Part]) -> list[str]:
    """Tries few failed tests once more, one process after the other; returns those that passed then."""
    broken = [part for part in parts if part.status]
    failed = {test for part in broken for test in part.failed()}
    if any(part.status != SOME_FAILED for part in broken) or not 0 < len(failed) <= FEW:
        return []
    for part in broken:
        print(f"\n== once more, alone: {' '.join(part.failed())}", flush=True)
        part.again()
    return sorted(failed - {test for part in broken for test in part.failed()})


def main(options: list[str]) -> int:
    """Runs all parts and returns the worst status."""
    # Hundreds of commands and servers are started: where Python may not write bytecode, each would compile it all anew.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "src", "tests", "examples"], cwd=TESTS.parent, check=False
    )
    first, *others = every = [
        Part(TESTS.parent / ".pytest_cache" / f"part-{number}", folders, options)
        for number, folders in enumerate(parts())
    ]
    with contextlib.ExitStack() as left:
        beside = []
        for part in others:
            output = left.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(part.command, stdout=output, stderr=subprocess.STDOUT)
            left.callback(process.kill)
            beside.append((part, process, output))
        print(f"== {first.title}", flush=True)
        first.status = subprocess.run(first.command, check=False).returncode
        for part, process, output in beside:
            part.status = process.wait()
            output.seek(0)
            print(f"\n== {part.title}", flush=True)
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
    flaky = second_try(every)
    for test in flaky:
        print(f"flaky: {test} failed beside other tests and passed alone", flush=True)
    return max(part.status for part in every)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
