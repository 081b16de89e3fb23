"""Workloads and clusters as text: JSON lines, the Standard Workload Format, and the cluster's JSON document.

Everything that is wrong is collected, each with its place; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, isfinite, lcm

from formicary.engine.scheduling.policies.capacity_tree import check
from formicary.engine.scheduling.simulation.precedence import cycle
from formicary.engine.scheduling.simulation.registry import capacity_queues
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue

MOST_INSTANCES = 1_000_000
MOST_S = 1e12
"""Times are below this: beyond it a float does not tell seconds apart well enough."""
_SWF = [
    "job number",
    "submit time",
    "wait time",
    "run time",
    "allocated processors",
    "average CPU time",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
]
_PARTS_OF_A_JOB = (2, 3, 4)
"""Status of the pieces of a job that was checkpointed; the job has a line of its own, with their sum."""
_JOB = [
    "id",
    "submit",
    "runtime",
    "demand",
    "user",
    "queue",
    "priority",
    "deadline",
    "period",
    "tags",
    "gang",
    "estimate",
    "prefer",
    "locks",
    "after",
    "not_before",
    "data",
    "remote_runtime",
    "copy_runtime",
]
_ALIASES = {
    "capacity": "guaranteed",
    "guarantee": "guaranteed",
    "max": "maximum",
    "max_capacity": "maximum",
    "maximum_capacity": "maximum",
    "tickets": "weight",
}


class Wrong:
    """Collects violations as sentences with their place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[str] = []

    def at(self, place: str, message: str) -> None:
        """Notes one."""
        self.found.append(f"{self.file}:{place}: {message}")


class _Fields:
    """Reads typed fields of one JSON object."""

    def __init__(self, raw: Mapping[str, object], wrong: Wrong, place: str) -> None:
        self.raw, self.wrong, self.place = raw, wrong, place

    def _bad(self, name: str, must: str) -> None:
        text = json.dumps(self.raw.get(name), default=str)
        self.wrong.at(self.place, f"{name} must be {must}, is {text[:60]}")

    def known(self, names: list[str]) -> None:
        for name in self.raw:
            if name not in names:
                self.wrong.at(self.place, f"there is no field {name!r}; fields are {', '.join(names)}")

    def number(
        self,
        name: str,
        default: float | None = None,
        *,
        least: float = -inf,
        most: float = inf,
        above: bool = False,
    ) -> float | None:
        value = self.raw.get(name)
        if value is None:
            return default
        must = "a number" if least == -inf else f"a number {'above' if above else 'not below'} {least:g}"
        if most < inf:
            must += f" and at most {most:g}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not isfinite(value)
            or not least <= value <= most
            or (above and value <= least)
        ):
            self._bad(name, must)
        else:
            return float(value)
        return default

    def text(self, name: str) -> str:
        value = self.raw.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._bad(name, "a text")
            return ""
        return str(value)

    def numbers(self, name: str, *, least: float = 0.0) -> dict[str, float]:
        value = self.raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._bad(name, "an object of numbers")
            return {}
        found = {}
        for key, amount in value.items():
            if (
                isinstance(amount, bool)
                or not isinstance(amount, int | float)
                or not isfinite(amount)
                or amount < least
            ):
                limit = "" if least == -inf else f" not below {least:g}"
                self.wrong.at(self.place, f"{name}.{key} must be a number{limit}, is {json.dumps(amount)[:60]}")
            else:
                found[key] = float(amount)
        return found

    def words(self, name: str) -> frozenset[str]:
        value = self.raw.get(name)
        if value is None:
            return frozenset()
        if isinstance(value, str):
            return frozenset(value.replace(",", " ").split())
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self._bad(name, "a list of texts")
            return frozenset()
        return frozenset(value)


def _object(text: str, wrong: Wrong, place: str) -> dict[str, object] | None:
    try:
        raw = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        wrong.at(place or f"{line}", f"is not JSON: {error}")
        return None
    if not isinstance(raw, dict):
        wrong.at(place or "1", "must be a JSON object")
        return None
    return raw


def read_workload(text: str, wrong: Wrong) -> list[Job]:
    """Jobs of JSON lines, in their order; recurring ones are not unfolded yet."""
    jobs: list[Job] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip():
            continue
        raw = _object(line, wrong, str(number))
        if raw is None:
            continue
        job = _job(raw, wrong, str(number))
        if job is None:
            continue
        if job.id in lines:
            wrong.at(str(number), f"id {job.id!r} is also on line {lines[job.id]}")
        lines.setdefault(job.id, number)
        jobs.append(job)
    if not jobs and not wrong.found:
        wrong.at("1", "holds no job")
    _check_precedence(jobs, lines, wrong)
    return jobs


def _check_precedence(jobs: list[Job], lines: Mapping[str, int], wrong: Wrong) -> None:
    """What jobs come after has to be there, with the same period where it recurs, and not in a circle."""
    known = {job.id: job for job in jobs}
    before: dict[str, set[str]] = {}
    for job in jobs:
        place = str(lines[job.id])
        for name in sorted(job.after):
            base, _, number = name.rpartition("#")
            other = known.get(name)
            if other is None and number.isdigit() and base in known and known[base].period is not None:
                other = known[base]
            elif other is None:
                wrong.at(place, f"after: there is no job {name!r}")
                continue
            elif other.period is not None and job.period is None:
                wrong.at(place, f"after: {name!r} recurs: name one of its instances, such as '{name}#0'")
            elif other.period is not None and other.period != job.period:
                wrong.at(place, f"after: {name!r} recurs every {other.period:g} s, not every {job.period:g} s")
            before.setdefault(job.id, set()).add(other.id)
    if circle := cycle(before):
        wrong.at(str(lines[circle[-1]]), f"after: a circle: {' before '.join(circle)}")


def _job(raw: dict[str, object], wrong: Wrong, place: str) -> Job | None:
    before = len(wrong.found)
    fields = _Fields(raw, wrong, place)
    fields.known(_JOB)
    for name in ("id", "submit", "runtime"):
        if raw.get(name) in (None, ""):
            wrong.at(place, f"{name} is missing")
    submit = fields.number("submit", 0.0, least=0.0, most=MOST_S) or 0.0
    deadline = fields.number("deadline", most=MOST_S)
    if deadline is not None and deadline < submit:
        wrong.at(place, f"deadline {deadline:g} is before the submission at {submit:g}: it is absolute, in seconds")
    not_before = fields.number("not_before", 0.0, least=0.0, most=MOST_S) or 0.0
    if deadline is not None and submit <= deadline < not_before:
        wrong.at(place, f"deadline {deadline:g} is before the first moment at which it may start, {not_before:g}")
    job = Job(
        id=fields.text("id"),
        submit=submit,
        runtime=fields.number("runtime", 0.0, least=0.0, most=MOST_S) or 0.0,
        demand=fields.numbers("demand"),
        user=fields.text("user"),
        queue=fields.text("queue"),
        priority=fields.number("priority", 0.0) or 0.0,
        deadline=deadline,
        period=fields.number("period", least=0.0, most=MOST_S, above=True),
        tags=fields.words("tags"),
        gang=fields.text("gang"),
        estimate=fields.number("estimate", least=0.0, most=MOST_S),
        prefer=fields.numbers("prefer", least=-inf),
        locks=fields.words("locks"),
        after=fields.words("after"),
        not_before=not_before,
        data=fields.words("data"),
        remote_runtime=_remote(fields),
        copy_runtime=fields.number("copy_runtime", least=0.0, most=MOST_S),
    )
    return job if len(wrong.found) == before else None


def _remote(fields: _Fields) -> float | None:
    """The run time where the data is not; it is told beside the data, and not below the run time."""
    found = fields.number("remote_runtime", most=MOST_S)
    near = fields.number("runtime") if isinstance(fields.raw.get("runtime"), int | float) else None
    if found is None or near is None:
        return found
    if not fields.raw.get("data"):
        fields.wrong.at(fields.place, "remote_runtime says how long it runs away from its data: data is missing")
    if found < near or near <= 0:
        must = "remote_runtime must be a number not below runtime, which is above 0"
        fields.wrong.at(fields.place, f"{must}, is {found:g} beside {near:g}")
    return found


def is_swf(file: str, text: str) -> bool:
    """True for a trace in the Standard Workload Format: by its name, or by its first line, a comment."""
    return file.lower().removesuffix(".gz").endswith(".swf") or text.lstrip("\ufeff \t\r\n").startswith(";")


def read_swf(text: str, wrong: Wrong) -> tuple[list[Job], int | None]:
    """Jobs of a trace in the Standard Workload Format, and the header's number of processors.

    Processors become `cpu`. Jobs without a run time or processors (cancelled before they started) are left out, and the
    pieces of a checkpointed job, which the line of the job itself sums up.
    Source: Chapin et al., "Benchmarks and Standards for the Evaluation of Parallel Job Schedulers", JSSPP 1999.
    """
    jobs: list[Job] = []
    most = None
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.lstrip().startswith(";"):
            name, _, value = line.strip("; \t").partition(":")
            if name.strip() in ("MaxProcs", "MaxNodes") and value.split() and value.split()[0].isdigit():
                most = int(value.split()[0]) if name.strip() == "MaxProcs" or most is None else most
            continue
        parts = line.split()
        if not parts:
            continue
        values = _swf_numbers(parts, wrong, str(number))
        if values is None:
            continue
        processors = values[4] if values[4] > 0 else values[7]
        if values[3] < 0 or processors <= 0 or values[10] in _PARTS_OF_A_JOB:
            continue
        jobs.append(
            Job(
                id=f"{values[0]:g}",
                submit=max(0.0, values[1]),
                runtime=values[3],
                demand={"cpu": processors},
                user=f"{values[11]:g}" if values[11] >= 0 else "",
                queue=f"{values[14]:g}" if values[14] >= 0 else "",
                estimate=max(values[3], values[8]) if values[8] > 0 else None,
            )
        )
    if not jobs and not wrong.found:
        wrong.at("1", "holds no job that ran")
    return jobs, most


def _swf_numbers(parts: list[str], wrong: Wrong, place: str) -> list[float] | None:
    """The fields of one record; None where one cannot be."""
    if len(parts) != len(_SWF):
        wrong.at(place, f"must have {len(_SWF)} numbers, has {len(parts)}; comments begin with ;")
        return None
    values = []
    for position, part in enumerate(parts):
        try:
            value = float(part)
        except ValueError:
            value = inf
        if not abs(value) <= MOST_S:
            wrong.at(
                place, f"field {position + 1} ({_SWF[position]}) must be a number up to {MOST_S:g}, is {part[:60]}"
            )
        values.append(value)
    return values if all(abs(value) <= MOST_S for value in values) else None


def read_cluster(text: str, wrong: Wrong) -> Cluster:
    """The ants and queues of a cluster."""
    raw = _object(text.removeprefix("\ufeff"), wrong, "")
    if raw is None:
        return Cluster(())
    for name in raw:
        if name not in ("ants", "queues"):
            wrong.at("1", f"there is no field {name!r}; fields are ants, queues")
    ants = _list(raw, "ants", wrong, _ant)
    if not ants and not wrong.found:
        wrong.at("ants", "is empty: at least one ant must be there")
    before = len(wrong.found)
    queues = _list(raw, "queues", wrong, _queue)
    is_read = len(wrong.found) == before
    for kind, names in (("ants", [ant.id for ant in ants]), ("queues", [queue.name for queue in queues])):
        for position, name in enumerate(names):
            if name in names[:position]:
                wrong.at(f"{kind}[{position}]", f"{name!r} is there twice")
    if any((queue.guaranteed or 0) > 1 or queue.maximum > 1 for queue in queues):  # per cent
        queues = [
            replace(
                queue,
                guaranteed=None if queue.guaranteed is None else queue.guaranteed / 100,
                maximum=1.0 if queue.maximum == 1.0 else queue.maximum / 100,
            )
            for queue in queues
        ]
    cluster = Cluster(tuple(ants), tuple(queues))
    if is_read and len({queue.name for queue in queues}) == len(queues):
        for violation in check(capacity_queues(cluster)):
            wrong.at(violation.place, violation.message)
    return cluster


def _list(raw: dict[str, object], name: str, wrong: Wrong, read: Callable[[_Fields], object]) -> list:  # type: ignore[type-arg]  # each caller knows
    value = raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        wrong.at(name, "must be a list")
        return []
    found = []
    for position, one in enumerate(value):
        if isinstance(one, str) and name == "queues":
            one = {"name": one}
        if isinstance(one, dict):
            found.append(read(_Fields(one, wrong, f"{name}[{position}]")))
        else:
            wrong.at(f"{name}[{position}]", "must be an object")
    return found


def _ant(fields: _Fields) -> Ant:
    fields.known(["id", "capacity", "tags", "labels"])
    if not fields.raw.get("id") and fields.raw.get("id") != 0:
        fields.wrong.at(fields.place, "id is missing")
    labels = fields.raw.get("labels") or {}
    if not isinstance(labels, dict):
        fields.wrong.at(fields.place, "labels must be an object of texts")
        labels = {}
    return Ant(
        fields.text("id"),
        fields.numbers("capacity"),
        fields.words("tags"),
        {str(key): str(value) for key, value in labels.items()},
    )


def _queue(fields: _Fields) -> Queue:
    fields.raw = {("name" if key == "id" else _ALIASES.get(key, key)): value for key, value in fields.raw.items()}
    fields.known(["name", "weight", "priority", "parent", "guaranteed", "maximum", "quantum"])
    if fields.raw.get("name") is None:
        fields.wrong.at(fields.place, "name is missing")
    maximum = fields.number("maximum", 1.0, least=0.0, above=True)
    return Queue(
        fields.text("name"),
        fields.number("weight", 1.0, least=0.0, above=True) or 1.0,
        fields.number("priority", 0.0) or 0.0,
        fields.text("parent"),
        fields.number("guaranteed", least=0.0),
        maximum or 1.0,
        fields.number("quantum", least=0.0, most=MOST_S, above=True),
    )


def unfold(jobs: list[Job], until: float | None, wrong: Wrong) -> list[Job]:
    """Recurring jobs become their instances up to the horizon, or one hyperperiod where the periods are whole.

    Without a deadline of its own each instance has the start of the next one. It comes after the instance of the same
    number of each recurring job that it comes after.
    """
    periods = [job.period for job in jobs if job.period is not None]
    if not periods:
        return jobs
    if until is None:
        if any(period != int(period) for period in periods):
            wrong.at("1", "recurring jobs whose periods are not whole need a horizon: --set until=SECONDS")
            return jobs
        until = max(job.submit for job in jobs) + lcm(*(int(period) for period in periods))
    if sum((until - job.submit) / job.period for job in jobs if job.period) > MOST_INSTANCES:
        wrong.at("1", f"gives over {MOST_INSTANCES:,} instances: use a nearer --set until=SECONDS")
        return jobs
    found = []
    recurring = {job.id for job in jobs if job.period is not None}
    for job in jobs:
        if job.period is None:
            found.append(job)
            continue
        count = 0
        while (submit := round(job.submit + count * job.period, 9)) < until:
            shift = count * job.period
            deadline = (job.submit + job.period if job.deadline is None else job.deadline) + shift
            found.append(
                replace(
                    job,
                    id=f"{job.id}#{count}",
                    submit=submit,
                    not_before=round(job.not_before + shift, 9) if job.not_before else 0.0,
                    deadline=round(deadline, 9),
                    period=None,
                    after=frozenset(f"{name}#{count}" if name in recurring else name for name in job.after),
                )
            )
            count += 1
    return found
