"""Virtual environments for the peers, one each, with pinned versions.

They live under a cache folder (``$FORMICARY_BENCH_CACHE``, else ``~/.cache/formicary-bench``) and are made once.
Each is made with the newest Python from 3.11 on that can install and import the peer, so a peer is never slowed
down by an old interpreter.
A stamp file holds what was asked for; when it still says the same, nothing is done.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MINIMUM_PYTHON = (3, 11)
#: DBOS uses ``unixepoch('subsec')``, which SQLite has from 3.42 on.
DBOS_MINIMUM_SQLITE = (3, 42)
_STAMP = "formicary-bench.json"
_PROBE = "import json, sqlite3, sys; print(json.dumps([list(sys.version_info[:3]), sqlite3.sqlite_version]))"


@dataclass(frozen=True, slots=True)
class PeerPackages:
    """What a peer's environment holds.

    Args:
        name: name of the environment's folder.
        requirements: pinned requirements for pip.
        module: imported as a test that the installation works.
        needs_new_sqlite: pysqlite3-binary is added where the interpreter's own SQLite is too old.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    needs_new_sqlite: bool = False


PACKAGES: dict[str, PeerPackages] = {
    # redis-py 6.4 is about 8 % quicker under Celery than the 8.1 that would be chosen without a pin
    "celery": PeerPackages("celery", ("celery[redis]==5.7.0", "redis==6.4.0", "hiredis==3.5.0"), "celery"),
    "procrastinate": PeerPackages(
        "procrastinate", ("procrastinate==3.10.0", "psycopg[binary]>=3.2,<4"), "procrastinate"
    ),
    "dbos": PeerPackages("dbos", ("dbos==3.4.0", "psycopg[binary]>=3.2,<4"), "dbos", needs_new_sqlite=True),
    "huey": PeerPackages("huey", ("huey==3.5.4",), "huey"),
    # beside bench.idempotency
    "powertools": PeerPackages(  # its idempotency imports boto3, whatever store is used
        "powertools", ("aws-lambda-powertools[aws-sdk]==3.37.0",), "aws_lambda_powertools.utilities.idempotency"
    ),
    "idemkit": PeerPackages("idemkit", ("idemkit==1.0.2",), "idemkit"),
    "asgi-idempotency-header": PeerPackages(
        "asgi-idempotency-header",
        ("asgi-idempotency-header==0.2.0", "fastapi>=0.115,<1", "redis==6.4.0"),
        "idempotency_header_middleware",
    ),
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python that can make environments.

    Args:
        path: the executable.
        version: (major, minor, micro).
        sqlite: version of the SQLite inside its standard library.
    """

    path: Path
    version: tuple[int, ...]
    sqlite: tuple[int, ...]


def cache_folder() -> Path:
    """Return the folder that holds the environments (not made yet)."""
    configured = os.environ.get("FORMICARY_BENCH_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "formicary-bench"


def _probe(path: Path) -> Interpreter | None:
    try:
        done = subprocess.run([path, "-c", _PROBE], capture_output=True, timeout=20, check=True)
        version, sqlite = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(path, tuple(version), tuple(int(part) for part in sqlite.split(".")))


def _candidates() -> Iterator[Path]:
    """Yield executables that may be a Python: this one's base, pyenv's, those on PATH."""
    yield Path(sys._base_executable)  # type: ignore[attr-defined]  # the interpreter behind this environment
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if pyenv.is_dir():
        yield from (folder / "bin" / "python3" for folder in pyenv.iterdir())
    for minor in range(MINIMUM_PYTHON[1], MINIMUM_PYTHON[1] + 6):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield Path(found)
    found = shutil.which("python3")
    if found:
        yield Path(found)


def interpreters() -> list[Interpreter]:
    """Return the usable Pythons, the newest first; of one minor version only the newest."""
    best: dict[tuple[int, ...], Interpreter] = {}
    for path in _candidates():
        found = _probe(path) if path.exists() else None
        if found is None or found.version[:2] < MINIMUM_PYTHON:
            continue
        known = best.get(found.version[:2])
        if known is None or known.version < found.version:
            best[found.version[:2]] = found
    return [best[key] for key in sorted(best, reverse=True)]


def _requirements(peer: PeerPackages, interpreter: Interpreter) -> list[str]:
    wanted = list(peer.requirements)
    if peer.needs_new_sqlite and interpreter.sqlite < DBOS_MINIMUM_SQLITE:
        wanted.append("pysqlite3-binary")
    return wanted


def _install(folder: Path, peer: PeerPackages, interpreter: Interpreter) -> str | None:
    """Make one environment; return None, or the last line of what went wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    steps = (
        [str(interpreter.path), "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check",
         *_requirements(peer, interpreter)],
        [str(python), "-c", f"import {peer.module}"],
        [str(python), "-m", "compileall", "-q", str(folder / "lib")],
    )  # fmt: skip
    for step in steps[:3]:
        done = subprocess.run(step, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
    subprocess.run(steps[3], capture_output=True, timeout=600)
    return None


def _stamp_text(peer: PeerPackages) -> str:
    return json.dumps({"requirements": peer.requirements, "new_sqlite": peer.needs_new_sqlite})


def ensure(name: str, say: Callable[[str], None]) -> Path:
    """Return the python of a peer's environment, making it first where needed.

    Args:
        name: a key of ``PACKAGES``.
        say: told one line for each thing that takes long.

    Raises:
        RuntimeError: no Python here could install it.
    """
    peer = PACKAGES[name]
    folder = cache_folder() / peer.name
    python, stamp = folder / "bin" / "python", folder / _STAMP
    if stamp.exists() and stamp.read_text() == _stamp_text(peer) and _probe(python):
        return python
    problems = []
    for interpreter in interpreters():
        version = ".".join(map(str, interpreter.version))
        say(f"making the environment of {name} with Python {version} in {folder}")
        problem = _install(folder, peer, interpreter)
        if problem is None:
            stamp.write_text(_stamp_text(peer))
            return python
        problems.append(f"Python {version}: {problem}")
    raise RuntimeError(f"{name} could not be installed ({'; '.join(problems) or 'no Python from 3.11 on found'})")


if __name__ == "__main__":
    for key in sys.argv[1:] or PACKAGES:
        print(ensure(key, lambda line: print(line, file=sys.stderr)))
