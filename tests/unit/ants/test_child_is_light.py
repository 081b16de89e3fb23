"""The worker process starts quickly because it loads little."""

from __future__ import annotations

import subprocess
import sys


def test_the_child_loads_neither_grpc_nor_the_rest_of_the_engine() -> None:
    program = (
        "import sys, formicary.engine.ants.python_child; print([m for m in sys.modules if m.split('.')[0] in"
        " ('grpc', 'google', 'asyncio', 'httpx', 'yaml', 'json', 'logging') or m.startswith(('formicary.engine.queen',"
        " 'formicary.engine.jobs', 'formicary.v1', 'formicary.problems'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
