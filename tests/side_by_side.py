"""``python -m tests.side_by_side``: the whole suite in four processes, since most of it waits for servers.

One process runs the acceptance tests, one those of the server, one all other tests that start servers and commands, the
last one all the rest. What the first prints is seen as it comes, the others' once they have ended. The
exit status is 0 only where all are well; options go to all.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent


def parts() -> list[list[str]]:
    """The folders and files with tests, by the process that runs them."""
    names: dict[str, set[str]] = {"acceptance": set(), "server": set(), "integration": set(), "": set()}
    for file in TESTS.glob("*/**/test_*.py"):
        path = file.relative_to(TESTS)
        if path.parts[:2] == ("integration", "server"):
            names["server"].add("/".join(path.parts[:3]))
        elif path.parts[0] == "integration":
            names["integration"].add("/".join(path.parts[:2]))
        else:
            names["acceptance" if path.parts[0] == "acceptance" else ""].add(path.parts[0])
    return [[f"tests/{name}" for name in sorted(found)] for found in names.values() if found]


def main(options: list[str]) -> int:
    """Runs all parts and returns the worst status."""
    # Hundreds of commands and servers are started: where Python may not write bytecode, each would compile it all anew.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "src", "tests", "examples"], cwd=TESTS.parent, check=False
    )
    first, *others = parts()
    command = [sys.executable, "-m", "pytest", "-q", *options]
    with contextlib.ExitStack() as left:
        beside = []
        for number, folders in enumerate(others):
            output = left.enter_context(tempfile.TemporaryFile())
            cache = ("-o", f"cache_dir=.pytest_cache/beside-{number}")
            process = subprocess.Popen([*command, *cache, *folders], stdout=output, stderr=subprocess.STDOUT)
            left.callback(process.kill)
            beside.append((folders, process, output))
        print(f"== {' '.join(first)}", flush=True)
        worst = subprocess.run([*command, *first], check=False).returncode
        for folders, process, output in beside:
            worst = max(worst, process.wait())
            output.seek(0)
            print(f"\n== {' '.join(folders)}", flush=True)
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
