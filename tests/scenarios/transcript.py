"""Scenario files: commands and what they must lead to, as text.

A file is a sentence behind `#`, then blocks: a command (with indented lines for a job's YAML), a line `----`, what
happens, an empty line. The commands are the methods `do_*` below. `pytest tests/scenarios --rewrite` writes what really
happens into the files, for review with the version control's diff.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from formicary.engine.jobs.error_rules import ErrorRule
from formicary.engine.jobs.model import task_from_json
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.approving import Vote
from formicary.engine.queen.core.records import TaskRun
from tests.unit.core.colony import ORG, WALL, Colony

RULE = "----"


class Scenario:
    """Runs the commands of one file."""

    def __init__(self) -> None:
        self.colony = Colony()
        self._types: dict[str, str] = {}

    def run(self, command: str, body: str) -> str:
        """One command; returns what happened."""
        name, *words = command.split()
        try:
            said = getattr(self, f"do_{name}")(body, *words)
        except AssertionError:
            raise  # a check of the driver itself: never an expected output
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        lines = self.colony.news()
        return "\n".join([*lines, *([said] if said else [])]) or "nothing"

    def _result(self, what: str, kind: int) -> None:
        job, task = what.split("/")
        self.colony.result(job, task, kind)

    # each method is one command; its docstring is its form --------------------------------------------------------

    def do_job(self, body: str) -> None:
        """job, then the indented YAML of a definition."""
        name = self.colony.define(body)
        self._types[name.rpartition(":")[0]] = name

    def do_submit(self, _body: str, job: str, job_type: str, *options: str) -> None:
        """submit JOB TYPE [priority=N] [in=S] [params=JSON]."""
        given = dict(option.split("=", 1) for option in options)
        self.colony.submit(
            job,
            self._types[job_type],
            after_s=float(given.get("in", "0")),
            priority=int(given["priority"]) if "priority" in given else None,
            params=json.loads(given.get("params", "{}")),
        )

    def do_ant(self, _body: str, name: str, *options: str) -> None:
        """ant NAME [slots=N] [window=N] [tags=A,B] [resources=A:N,B:N]."""
        given = dict(option.split("=", 1) for option in options)
        tags = frozenset(given["tags"].split(",")) if "tags" in given else frozenset()
        slots, window = int(given.get("slots", "1")), int(given.get("window", "0"))
        amounts = (one.split(":") for one in given["resources"].split(",")) if "resources" in given else ()
        resources = {resource: float(amount) for resource, amount in amounts}
        self.colony.ant(name, slots, window=window, tags=tags, resources=resources)

    def do_drop(self, _body: str, name: str) -> None:
        """drop ANT: its stream ends."""
        self.colony.drop(name)

    def do_join(self, _body: str, name: str, *claims: str) -> None:
        """join ANT [nothing]: it comes back, with what it holds or with nothing."""
        self.colony.join(name, claims=() if claims else None)

    def do_die(self, _body: str, name: str) -> None:
        """die ANT: kill -9."""
        self.colony.die(name)

    def do_bury(self, _body: str, name: str) -> None:
        """bury ANT: its supervisor says that it is dead."""
        self.colony.core.bury(name)
        self.colony.workers[name].held.clear()
        self.colony.settle()

    def do_ok(self, _body: str, what: str, *outputs: str) -> None:
        """ok JOB/TASK [JSON]: the attempt completes."""
        job, task = what.split("/")
        more = {"outputs": json.loads(" ".join(outputs))} if outputs else {}
        self.colony.ok(job, task, **more)

    def do_fail(self, _body: str, what: str, exit_code: str = "1", *said: str) -> None:
        """fail JOB/TASK [CODE] [TEXT]: the attempt fails; TEXT is the end of its output."""
        job, task = what.split("/")
        self.colony.fail(job, task, int(exit_code), recent=" ".join(said))

    def do_rule(self, _body: str, name: str, code: str, *given: str) -> None:
        """rule NAME CODE [exit_code=N] [pattern=P] [job_type=T] [action=A] [retry=N] [message=M]: of error codes."""
        values: dict[str, Any] = dict(one.split("=", 1) for one in given)
        for field in ("exit_code", "retry"):
            if field in values:
                values[field] = int(values[field])
        empty = {"job_type": "", "task_type": "", "platform": "", "exit_code": None, "pattern": "", "message": ""}
        rule = ErrorRule(org=ORG, name=name, code=code, **{**empty, "action": "", "retry": 0, **values})
        asyncio.run(self.colony.rules.put(rule))

    def do_timeout(self, _body: str, what: str) -> None:
        """timeout JOB/TASK: the attempt ran out of time."""
        self._result(what, ends.TIMED_OUT)

    def do_lost(self, _body: str, what: str) -> None:
        """lost JOB/TASK: the worker process died."""
        self._result(what, ends.LOST)

    def do_killed(self, _body: str, what: str) -> None:
        """killed JOB/TASK: the attempt was ended because it was cancelled."""
        self._result(what, ends.CANCELLED)

    def do_again(self, _body: str, what: str, which: str) -> str:
        """again JOB/TASK N: the result of the N-th token (from 1) comes once more, from whoever had it."""
        job, task = what.split("/")
        token = self.colony.token(job, task, int(which) - 1)
        worker = next(iter(self.colony.workers.values()))
        before = len(worker.acknowledged)
        self.colony.ok(job, task, token=token, session=worker.session)
        return "acknowledged" if len(worker.acknowledged) > before else "ignored"

    def do_vote(self, _body: str, what: str, voter: str, word: str, *options: str) -> str:
        """vote JOB[/TASK] VOTER yes|no [role=R] [key=K]: a user votes."""
        job, _, task = what.partition("/")
        given = dict(option.split("=", 1) for option in options)
        roles = frozenset(given["role"].split(",")) if "role" in given else frozenset()
        return self.colony.vote(job, Vote(task, voter, roles, word == "yes", key=given.get("key", "")))

    def do_pause(self, _body: str, job: str) -> None:
        """pause JOB: somebody asks for it."""
        self.colony.core.pause(job)
        self.colony.settle()

    def do_started(self, _body: str, what: str) -> None:
        """started JOB/TASK: the attempt is announced."""
        job, task = what.split("/")
        self.colony.started(job, task)

    def do_return(self, _body: str, what: str) -> None:
        """return JOB/TASK: the ant gives it back."""
        job, task = what.split("/")
        self.colony.give_back(job, task)

    def do_cancel(self, _body: str, job: str) -> None:
        """cancel JOB."""
        self.colony.cancel(job)

    def do_resume(self, _body: str, job: str) -> None:
        """resume JOB."""
        self.colony.resume(job)

    def do_retry(self, _body: str, job: str, *how: str) -> None:
        """retry JOB [hard] [version=N]."""
        version = next((word.removeprefix("version=") for word in how if word.startswith("version=")), "")
        name = f"{self.colony.job_type(job)}:{version}" if version else ""
        self.colony.retry(job, hard="hard" in how, version=name)

    def do_advance(self, _body: str, seconds: str, *how: str) -> None:
        """advance SECONDS [silently]: time passes; ants beat unless silently."""
        self.colony.advance(float(seconds), beats=not how)

    def do_restart(self, _body: str) -> None:
        """restart: the queen is killed and started again."""
        self.colony.restart()

    def do_notices(self, _body: str) -> str:
        """notices: those that wait to be delivered, without their time."""
        rows = self.colony.store.due_notices(1000)
        lines = []
        for row in rows:
            payload = json.loads(cast(bytes, row[8]))
            lines.append(f"{row[0]} {row[5]} {row[6]} {payload['outcome']}")
        return "\n".join(sorted(lines))

    def do_expired(self, _body: str, what: str, number: str = "0", *why: str) -> None:
        """expired JOB/TASK [N] [WHY]: the queen has removed N files, or could not."""
        job, task = what.split("/")
        self.colony.chore_done(job, task, int(number), " ".join(why))

    def do_params(self, _body: str, job: str) -> str:
        """params JOB: what it was given."""
        number = self.colony.job(job).number
        return self.colony.store.params([number])[number][0].decode()

    def do_outputs(self, _body: str, job: str, task: str) -> str:
        """outputs JOB TASK: what the task has given, as it is stored."""
        run = self.colony.task(job, task)
        return (run.outputs or b"").decode() if run is not None else ""

    def do_sees(self, _body: str, what: str, *names: str) -> str:
        """sees JOB/TASK NAME...: variables of the newest attempt that an ant holds."""
        job, task = what.split("/")
        token = self.colony.token(job, task)
        seen = json.loads(self.colony.holder(token).held[token].variables)
        return " ".join(f"{name}={json.dumps(seen[name]) if name in seen else '-'}" for name in names)

    def do_runs(self, _body: str, what: str) -> str:
        """runs JOB/TASK: the lines of the newest attempt that an ant holds."""
        job, task = what.split("/")
        token = self.colony.token(job, task)
        rendered = self.colony.holder(token).held[token].rendered
        assert rendered is not None, "an element is sent as rendered"
        found = task_from_json(rendered)
        return f"{found.task_type}: {'; '.join(found.script)}"

    def do_show(self, _body: str, job: str) -> str:
        """show JOB: states, counters and errors as they are stored."""
        found = self.colony.job(job)
        words = [f"{job} {found.state}"]
        words += [found.error_code] if found.error_code else []
        words += [f"verdict {found.verdict}"] if found.verdict else []
        words += [f"execution {found.execution}"] if found.execution > 1 else []
        words += ["dead letter"] if found.dead_letter else []
        words += [f"until {found.deadline_at - WALL:g}"] if found.deadline_at is not None else []
        lines = [" ".join(words)]
        for task in found.definition.model.tasks:
            run = self.colony.task(job, task.task_type)
            if run is None:
                lines.append(f"  {task.task_type} -")
                continue
            counts = {"attempts": run.attempts, "failures": run.failures, "lost": run.lost, "polls": run.polls}
            shown = [f"{name} {count}" for name, count in counts.items() if count]
            lines.append(" ".join(["  " + task.task_type, run.state, *shown, *filter(None, [run.error_code])]))
            for row in self.colony.store.elements(found.number, run.position):
                element = TaskRun.from_row(row, found)
                state = [element.state, "attempts", str(element.attempts), *filter(None, [element.error_code])]
                lines.append(f"    {element.name} {' '.join(state)}")
        return "\n".join(lines)


def replay(text: str) -> str:
    """The file's text as it would be if every output were what really happens."""
    scenario = Scenario()
    written: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        written.append(line)
        if not line.strip() or line.startswith("#"):
            continue
        body: list[str] = []
        for more in lines:
            written.append(more)
            if more == RULE:
                break
            body.append(more)
        for old in lines:
            if not old.strip():
                break
        command = "\n".join(body)
        written += [scenario.run(line, command), ""]
    return "\n".join(written).rstrip("\n") + "\n"


def files() -> list[Path]:
    """All scenario files."""
    return sorted(Path(__file__).parent.glob("*.txt"))
