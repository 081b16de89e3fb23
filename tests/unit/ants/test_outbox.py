"""What waits for the queen: order, bounds, and results that stay until they are acknowledged."""

from __future__ import annotations

import json

from formicary.engine.ants.attempt import Attempt, Outcome, Result
from formicary.engine.ants.outbox import Outbox
from formicary.engine.jobs.model import TaskDefinition
from formicary.v1.ants_pb2 import AntMessage


def make(max_pending: int = 10**8) -> tuple[Outbox, list[None]]:
    woken: list[None] = []
    return Outbox(max_pending_log_bytes=max_pending, wake=lambda: woken.append(None)), woken


def attempt(token: int) -> Attempt:
    return Attempt(token, TaskDefinition(task_type="t"), job_id="j")


def everything(outbox: Outbox) -> list[AntMessage]:
    messages = []
    while (message := outbox.next_message()) is not None:
        messages.append(message)
        assert len(messages) < 1000
    return messages


def test_what_is_said_in_one_turn_leaves_as_one_message() -> None:
    outbox, woken = make()
    assert outbox.next_message() is None
    outbox.add_log(attempt(1), [(1.0, 1, "a"), (1.0, 2, "b")])
    outbox.add_log(attempt(1), [(1.0, 1, "c")])
    outbox.add_result(attempt(1), Result(outcome=Outcome.COMPLETED))
    outbox.add_started(2, 5.0)
    outbox.add_progress(2, 0.1, "")
    outbox.add_progress(2, 0.2, "")
    outbox.add_returned([3])
    outbox.set_window(4)
    outbox.set_beat(5)
    (message,) = everything(outbox)
    assert [line.text for line in message.logs[0].lines] == ["a", "b", "c"]
    assert [result.token for result in message.results] == [1]
    assert [p.fraction for p in message.progress] == [0.2]
    assert (message.started[0].token, list(message.returned), message.window, message.beat) == (2, [3], 4, 5)
    assert woken


def test_messages_are_bounded_and_a_result_never_precedes_its_log() -> None:
    outbox, _ = make()
    for token in range(1, 6):
        outbox.add_log(attempt(token), [(1.0, 1, "x" * 60_000)] * 30)
        outputs = json.dumps({"a": "y" * 900_000}).encode()
        outbox.add_result(attempt(token), Result(outcome=Outcome.COMPLETED, outputs=outputs))
    messages = everything(outbox)
    assert max(message.ByteSize() for message in messages) < 3_200_000
    lines = dict.fromkeys(range(1, 6), 0)
    results = []
    for message in messages:
        for chunk in message.logs:
            lines[chunk.token] += len(chunk.lines)
        for result in message.results:
            assert lines[result.token] == 30
            results.append(result.token)
    assert sorted(results) == [1, 2, 3, 4, 5]


def test_results_stay_until_they_are_acknowledged() -> None:
    outbox, _ = make()
    for token in (1, 2):
        outbox.add_result(attempt(token), Result(outcome=Outcome.COMPLETED, exit_code=0))
    everything(outbox)
    assert outbox.unacknowledged == [1, 2]
    outbox.acknowledged([1, 77])
    assert not outbox.holds(1)
    outbox.resend()
    (message,) = everything(outbox)
    assert [(result.token, result.has_exit_code) for result in message.results] == [(2, True)]
    outbox.resend_one(2)
    outbox.acknowledged([2])
    assert everything(outbox) == []


def test_log_lines_that_nobody_takes_are_dropped_and_counted() -> None:
    outbox, _ = make(max_pending=1000)
    for number in range(100):
        outbox.add_log(attempt(1), [(1.0, 1, f"line {number}")])
    sent = [line.text for message in everything(outbox) for chunk in message.logs for line in chunk.lines]
    outbox.add_log(attempt(1), [(1.0, 1, "later")])
    later = [line.text for message in everything(outbox) for chunk in message.logs for line in chunk.lines]
    assert later == [f"… {100 - len(sent)} lines left out: the queen could not take them …", "later"]


def test_texts_that_are_not_unicode_do_not_stop_a_result() -> None:
    outbox, _ = make()
    result = Result(outcome=Outcome.FAILED, error_code="E", error_message="bad \udcff", traceback="\ud800")
    outbox.add_result(attempt(1), result)
    (message,) = everything(outbox)
    assert message.results[0].error_message == "bad ?"


def test_the_last_checkpoint_goes_before_the_result_and_is_kept_until_that_is_acknowledged() -> None:
    outbox, _ = make()
    outbox.add_checkpoint(1, b"a")
    outbox.add_checkpoint(1, b"b")
    outbox.add_result(attempt(1), Result(outcome=Outcome.FAILED))
    (message,) = everything(outbox)
    assert [(left.token, left.value) for left in message.checkpoints] == [(1, b"b")] and message.results
    outbox.resend()
    (message,) = everything(outbox)
    assert [left.value for left in message.checkpoints] == [b"b"] and message.results
    outbox.acknowledged([1])
    outbox.resend()
    assert everything(outbox) == []


def test_checkpoints_that_fill_a_message_leave_in_several_and_before_the_results() -> None:
    outbox, _ = make()
    for token in range(100):
        outbox.add_checkpoint(token, b"x" * 65536)
        outbox.add_result(attempt(token), Result(outcome=Outcome.FAILED))
    told: set[int] = set()
    for message in everything(outbox):
        assert message.ByteSize() < 4_000_000
        told |= {left.token for left in message.checkpoints}
        assert {result.token for result in message.results} <= told
    assert told == set(range(100))
