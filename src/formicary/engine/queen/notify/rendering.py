"""What a notice says: templates of its channel, rendered with the facts of the end and the job's variables.

Each text is rendered by itself, off the loop and bounded. Secrets are put into URLs, headers and queries of calls and
nowhere else; in a subject, a body or a name they are ``***``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView, without_secrets
from formicary.engine.jobs.notices import DEAD_LETTER, EMAIL, ESCALATED, FIXED, SLACK, STARTED, WANTED, Channel
from formicary.engine.jobs.templates.engine import TemplateError, render_text
from formicary.engine.queen.documents import timestamp
from formicary.engine.queen.notify.attempts import NotDelivered
from formicary.engine.queen.notify.calls import HttpCall
from formicary.engine.queen.notify.mail import Mail

MOST_BODY = 256 * 1024
_NO_VALUE = "<no value>"
_encode = msgspec.json.Encoder().encode
Fill = Callable[[str], str]
"""Puts secrets in place of what stands for them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a notice can say.

    Attributes:
        payload: As it was stored with the end.
        variables: Of the job, outputs among them.
        configs: What the job sees of the configurations.
        dialect: Of the templates.
        report: Standard output of the tasks that ask for it.
        link: Where people find the job, empty = nowhere.
    """

    payload: Mapping[str, Any]
    variables: Mapping[str, object] = field(default_factory=dict)
    configs: ConfigView = NO_CONFIGS
    dialect: str = "go"
    report: str = ""
    link: str = ""


def to_send(channel: Channel, facts: Facts, fill: Fill, secret: bytes) -> Mail | HttpCall:
    """What is sent over a channel. Raises NotDelivered where a template cannot be rendered."""
    text = _Texts(channel, facts)
    notice_id = str(facts.payload["id"])
    if channel.kind == EMAIL:
        recipients = tuple(text.plain(one).strip() for one in channel.recipients)
        subject = text.plain(channel.subject) if channel.subject else subject_of(facts.payload)
        body = text.plain(channel.body) if channel.body else body_of(facts)
        return Mail(notice_id, recipients, subject, body[:MOST_BODY])
    headers = {name: fill(text.raw(value)) for name, value in channel.headers.items()}
    query = {name: fill(text.raw(value)) for name, value in channel.query.items()}
    url = fill(text.raw(channel.url)).strip()
    if not url or _NO_VALUE in url:
        raise NotDelivered(f"The address {channel.url[:80]!r} has no value: set the variable it names.", is_final=True)
    if channel.kind == SLACK:
        said = text.plain(channel.body) if channel.body else f"{subject_of(facts.payload)}\n{body_of(facts)}"
        content: dict[str, object] = {"text": said[:MOST_BODY]}
        if channel.recipients:
            content["channel"] = text.plain(channel.recipients[0])
        return HttpCall(notice_id, "POST", url, _encode(content), headers, query)
    content = _shown(facts.payload) | ({"url": facts.link} if facts.link else {})
    verb = text.plain(channel.method).strip().upper()
    return HttpCall(notice_id, verb, url, _encode(content), headers, query, secret)


class _Texts:
    """Renders the texts of one channel."""

    def __init__(self, channel: Channel, facts: Facts) -> None:
        self._dialect = facts.dialect
        self._now = time.time()
        self._rng = random.Random(str(facts.payload["id"]))
        view = facts.configs
        self._variables = {**view.below, **facts.variables, **view.above, **builtins(facts)}

    def raw(self, text: str) -> str:
        """With what stands for secrets."""
        if "{" not in text or self._dialect == "none":
            return text
        try:
            return render_text(text, self._variables, self._dialect, now=self._now, rng=self._rng, clock=time.monotonic)
        except TemplateError as error:
            raise NotDelivered(f"The template {text[:60]!r} cannot be rendered: {error}.", is_final=True) from error

    def plain(self, text: str) -> str:
        """Without any secret."""
        return str(without_secrets(self.raw(text)))


def builtins(facts: Facts) -> dict[str, object]:
    """The variables that the engine sets in texts of notices."""
    payload = facts.payload
    job, task = payload["job"], payload.get("task")
    error = (task or job)["error"] or {}
    found: dict[str, object] = {
        "JobID": job["id"],
        "JobType": job["job_type"],
        "State": (task or job)["state"],
        "Outcome": payload["outcome"],
        "Event": payload["event"],
        "Execution": job["execution"],
        "JobRetry": job["retries"],
        "ErrorCode": error.get("code", ""),
        "Error": error.get("message", ""),
        "TaskType": task["task_type"] if task else "",
        "Tasks": payload.get("tasks", []),
        "SubmittedAt": timestamp(job["submitted_at"]) or "",
        "StartedAt": timestamp(job["started_at"]) or "",
        "EndedAt": timestamp((task or job)["ended_at"]) or "",
        "UserID": job["submitted_by"] or "",
        "OrganizationID": job["organization"],
        "Report": facts.report,
        "URL": facts.link,
        "NoticeID": payload["id"],
    }
    return found


def subject_of(payload: Mapping[str, Any]) -> str:
    """The engine's own subject."""
    job, task = payload["job"], payload.get("task")
    if payload["outcome"] in (ESCALATED, WANTED):
        return f"{job['job_type']} waits for approval: {task['task_type']}" if task else f"{job['job_type']} waits"
    what = f"{job['job_type']}, task {task['task_type']}" if task else str(job["job_type"])
    if payload["outcome"] in (STARTED, DEAD_LETTER):
        return f"{job['job_type']}: {'started' if payload['outcome'] == STARTED else 'dead letter'}"
    word = "fixed" if payload["outcome"] == FIXED else str((task or job)["state"]).lower()
    return f"{what}: {word}"


def body_of(facts: Facts) -> str:
    """The engine's own text."""
    payload = facts.payload
    job, task = payload["job"], payload.get("task")
    lines = [f"Job {job['job_type']} {job['id']} is {job['state']}."]
    if payload["outcome"] == FIXED:
        lines.append("The job before it had failed.")
    if approval := payload.get("approval"):
        lines = [f"Job {job['job_type']} {job['id']} waits for people: {approval['missing']}."]
        lines += [approval["message"]] if approval["message"] else []
        lines.append(f"Vote: formicary approve {job['id']} {task['task_type'] if task else ''}")
    elif task:
        lines = [f"Task {task['task_type']} of job {job['job_type']} {job['id']} is {task['state']}."]
    if error := (task or job)["error"]:
        lines.append(f"{error['code']}: {error['message']}")
    if letter := payload.get("dead_letter"):
        lines.append(f"No retry helps ({letter['reason']}): it is in the dead-letter queue {letter['queue']}.")
        lines.append(f"Run it again: formicary deadletters redrive {job['id']}")
    lines.append("")
    lines += [f"  {one['task_type']}: {one['state']}{_why(one)}" for one in payload.get("tasks", ())]
    if facts.report:
        lines += ["", facts.report]
    if facts.link:
        lines += ["", facts.link]
    return "\n".join(lines) + "\n"


def _why(task: Mapping[str, Any]) -> str:
    code = f" ({task['exit_code']})" if task["exit_code"] else ""
    return code + (f" {task['error']['code']}" if task["error"] else "")


def _shown(payload: Mapping[str, Any]) -> dict[str, object]:
    """The payload of a webhook: times as RFC 3339."""
    return {name: _timed(name, value) for name, value in payload.items()}


def _timed(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timed(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_timed("", one) for one in value]
    is_time = (name == "time" or name.endswith("_at")) and isinstance(value, int | float)
    return timestamp(value) if is_time else value
