"""What an ant and a worker that is no ant say to each other: JSON objects, over NATS or a web socket.

Theory of operation. The ant sends one object of type ``task``. The worker answers with any number of ``log`` and
``progress`` and one ``result``, which ends the attempt; the ant may send ``cancel``. What a worker sends that is no
such object is taken as a whole for its result, so that a service which knows nothing of this can be asked, too.

A worker may say ``alive`` with the seconds until it says so again; when nothing comes for three times as long it is
taken for dead. One that never says so is waited for until the time of the attempt is over.

Every message of an attempt carries its ``correlation_id``. A repeated attempt has another one, but the same ``key``: it
tells a worker that it has been asked before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from formicary.engine.ants.attempt import BUILT_INS, Attempt, Outcome, Result, failure
from formicary.engine.ants.output import STDERR, STDOUT

TASK, CANCEL, LOG, PROGRESS, RESULT, ALIVE = "task", "cancel", "log", "progress", "result", "alive"
MISSED = 3
"""Signs of life that may be missing in a row."""
_LEAST_S, _MOST_S = 0.1, 3600.0
PROTOCOL = 1
CORRELATION_HEADER = "Formicary-Correlation-Id"
_PROGRESS_S = 0.1


class TaskMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a worker is asked to do.

    Attributes:
        type: Always ``task``.
        protocol: Version of these messages.
        correlation_id: Goes with everything that is said about this attempt.
        key: The same for every attempt of this task: use it as idempotency key.
        job_id: Id of the job request.
        job_type: Name of the job.
        task_type: Name of the task.
        attempt: From 1.
        timeout_s: Seconds after which nobody waits any more.
        script: Lines of ``script``.
        variables: All variables of the task, without those that the engine sets by itself.
        environment: The ``environment``.
        reply_to: Over NATS: where to answer, the same as the message's own reply subject or the named reply queue.
        cancel_subject: Over NATS: where a ``cancel`` comes.
        checkpoint: What an earlier attempt has left with a log line ``::checkpoint::TEXT``, empty = nothing.
    """

    type: str = ""
    protocol: int = 0
    correlation_id: str = ""
    key: str = ""
    job_id: str = ""
    job_type: str = ""
    task_type: str = ""
    attempt: int = 0
    timeout_s: float = 0.0
    script: tuple[str, ...] = ()
    variables: Mapping[str, object] = msgspec.field(default_factory=dict)
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    reply_to: str = ""
    cancel_subject: str = ""
    checkpoint: str = ""


class Said(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a worker says; which fields count depends on the type.

    Attributes:
        type: ``log``, ``progress``, ``alive`` or ``result``.
        correlation_id: Of the attempt; may be left out where only one can be meant.
        text: Of ``log``: one or several lines.
        is_error: Of ``log``: the text belongs to standard error.
        fraction: Of ``progress``: from 0 to 1.
        message: Of ``progress``: a few words.
        every_s: Of ``alive``: seconds until the next one.
        exit_code: Of ``result``: 0 completes the task, anything else fails it; ``on_exit_code`` can take it.
        outputs: Of ``result``: JSON values by name.
        error: Of ``result``: one sentence for people where it failed.
    """

    type: str
    correlation_id: str = ""
    text: str = ""
    is_error: bool = False
    fraction: float = 0.0
    message: str = ""
    every_s: float = 0.0
    exit_code: int = 0
    outputs: Mapping[str, object] = msgspec.field(default_factory=dict)
    error: str = ""


def task_message(attempt: Attempt, correlation_id: str, *, reply_to: str = "", cancel_subject: str = "") -> bytes:
    """Encodes what the worker gets.

    Raises:
        msgspec.DecodeError: The variables are not a JSON object.
    """
    variables = {name: value for name, value in attempt.variables_map().items() if name not in BUILT_INS}
    message = msgspec.to_builtins(
        TaskMessage(
            type=TASK,
            protocol=PROTOCOL,
            correlation_id=correlation_id,
            key=attempt.key,
            job_id=attempt.job_id,
            job_type=attempt.job_type,
            task_type=attempt.task.task_type,
            attempt=attempt.number,
            timeout_s=attempt.timeout_s,
            script=attempt.task.script,
            variables=variables,
            environment=attempt.task.environment,
            reply_to=reply_to,
            cancel_subject=cancel_subject,
            checkpoint=attempt.checkpoint,
        )
    )
    return encode({"script": [], "variables": {}, "environment": {}} | message)


def cancel_message(correlation_id: str) -> bytes:
    """Encodes that nobody waits for the attempt any more."""
    return encode({"type": CANCEL, "correlation_id": correlation_id})


def correlation_of(data: bytes) -> str:
    """Which attempt a message belongs to, empty where it does not say."""
    try:
        return _CORRELATION.decode(data).correlation_id
    except msgspec.DecodeError:
        return ""


def kind_of(data: bytes) -> str:
    """The type of a message, empty where it has none."""
    try:
        return _KIND.decode(data).type
    except msgspec.DecodeError:
        return ""


class Hearing:
    """Takes what the worker of one attempt says.

    Args:
        attempt: Gets its log lines.
        correlation_id: Of the attempt; what belongs to another one is dropped.
        code: Of what is wrong with a message.
        max_outputs_bytes: Outputs as JSON; more fail the attempt.
        progressed: Takes progress, at most ten times a second and always 1.0.
    """

    def __init__(
        self,
        attempt: Attempt,
        correlation_id: str,
        code: str,
        max_outputs_bytes: int,
        progressed: Callable[[Attempt, float, str], None],
    ) -> None:
        self._attempt = attempt
        self._id = correlation_id
        self._code = code
        self._max_outputs = max_outputs_bytes
        self._progressed = progressed
        self._last = 0.0
        self.patience_s: float | None = None
        """How long nothing may be heard; None = for ever, since the worker has promised nothing."""

    def take(self, data: bytes) -> Result | None:
        """Takes one message; returns the attempt's result where this was it."""
        kind = kind_of(data)
        if kind not in (LOG, PROGRESS, RESULT, ALIVE):
            return self._foreign(data)
        try:
            said = _SAID.decode(data)
        except msgspec.DecodeError as error:
            return failure(self._code, f"The worker's {kind} cannot be read: {error}.")
        if said.correlation_id not in ("", self._id):
            return None
        if said.type == LOG:
            text = said.text if said.text.endswith("\n") else said.text + "\n"
            self._attempt.feed(STDERR if said.is_error else STDOUT, text.encode("utf-8", "replace"))
        elif said.type == ALIVE:
            self.patience_s = MISSED * min(max(said.every_s, _LEAST_S), _MOST_S) if said.every_s > 0 else None
        elif said.type == PROGRESS:
            self._progress(min(max(said.fraction, 0.0), 1.0), said.message)
        else:
            return self._result(said)
        return None

    def _progress(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if fraction >= 1.0 or now - self._last >= _PROGRESS_S:
            self._last = now
            self._progressed(self._attempt, fraction, message)

    def _foreign(self, data: bytes) -> Result:
        """The result of a service that does not know the protocol."""
        try:
            reply: object = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            reply = data.decode("utf-8", "replace")
        return self._bounded(Result(outcome=Outcome.COMPLETED, exit_code=0), {"reply": reply} if data else {})

    def _result(self, said: Said) -> Result:
        if not said.exit_code:
            if said.error:
                return self._bounded(failure(self._code, said.error), said.outputs)
            return self._bounded(Result(outcome=Outcome.COMPLETED, exit_code=0), said.outputs)
        message = said.error or f"The worker ended with exit code {said.exit_code}."
        return self._bounded(failure("ERR_EXIT_CODE", message, exit_code=said.exit_code), said.outputs)

    def _bounded(self, result: Result, outputs: Mapping[str, object]) -> Result:
        encoded = encode(outputs) if outputs else b""
        if len(encoded) > self._max_outputs:
            return failure("ERR_RESULT_TOO_LARGE", f"The outputs are larger than {self._max_outputs:,} bytes.")
        result.outputs = encoded
        return result


class _Kind(msgspec.Struct):
    type: str = ""


class _Correlation(msgspec.Struct):
    correlation_id: str = ""


encode = msgspec.json.Encoder().encode
_KIND = msgspec.json.Decoder(_Kind)
_CORRELATION = msgspec.json.Decoder(_Correlation)
_SAID = msgspec.json.Decoder(Said)
