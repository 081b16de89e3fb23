"""``python -m tests.side_by_side``: the whole suite in two processes, since half of it waits for servers.

One process runs the folders that start servers and commands, the other one all the rest. What the second one prints
comes after the first has ended. The exit status is 0 only where both are well; options go to both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
WAITING = ("acceptance", "integration")
"""Folders whose tests wait for other processes most of the time."""


def halves() -> tuple[list[str], list[str]]:
    """The folders with tests: those that wait, and all others."""
    folders = sorted({path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")})
    waiting = [f"tests/{name}" for name in folders if name in WAITING]
    return waiting, [f"tests/{name}" for name in folders if name not in WAITING]


def main(options: list[str]) -> int:
    """Runs both and returns the worse status."""
    # Hundreds of commands and servers are started: where Python may not write bytecode, each would compile it all anew.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "src", "tests", "examples"], cwd=TESTS.parent, check=False
    )
    waiting, others = halves()
    command = [sys.executable, "-m", "pytest", "-q", *options]
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(
            [*command, "-o", "cache_dir=.pytest_cache/beside", *others], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            first = subprocess.run([*command, *waiting], check=False).returncode
            second = beside.wait()
        finally:
            beside.kill()
        output.seek(0)
        print(f"\n== {' '.join(others)}", flush=True)
        sys.stdout.buffer.write(output.read())
        sys.stdout.buffer.flush()
    return max(first, second)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
