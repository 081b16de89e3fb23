"""Leases and tokens: who may change what, and until when."""

import pytest

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.records import EPOCH_SHIFT
from tests.unit.core.colony import Colony

ONE = JobDefinition("one", (TaskDefinition("a"),))


@pytest.fixture
def colony() -> Colony:
    """A colony with one definition and one job on one ant."""
    colony = Colony()
    name = colony.define(ONE)
    colony.ant("x")
    colony.submit("j", name)
    return colony


def test_a_token_is_epoch_and_counter(colony: Colony) -> None:
    """It is one integer that grows with each grant, and over each restart of the queen."""
    first = colony.token("j", "a")
    assert first == 1 << EPOCH_SHIFT | 1
    colony.result("j", "a", ends.LOST)
    second = colony.token("j", "a")
    assert second == first + 1
    colony.restart()
    colony.join("x")
    colony.result("j", "a", ends.LOST)
    assert colony.token("j", "a") == 2 << EPOCH_SHIFT | 1


def test_the_same_result_twice_is_acknowledged_twice_and_applied_once(colony: Colony) -> None:
    """Sent again after the commit it changes nothing and needs no commit of its own."""
    worker, token = colony.workers["x"], colony.token("j", "a")
    colony.ok("j", "a")
    commits = colony.store.commits
    colony.ok("j", "a", token=token, session=worker.session)
    assert worker.acknowledged == [token, token]
    assert colony.store.commits == commits
    assert colony.core.stats.stale == 1


def test_a_stale_token_changes_nothing(colony: Colony) -> None:
    """After the lease's end another ant has the task; the first one's results, starts and returns are void."""
    token = colony.token("j", "a")
    colony.advance(10.0, beats=False)
    colony.ant("y")
    before = colony.store.tasks(1)
    colony.join("x")
    session = colony.workers["x"].session
    colony.core.started(session, token, colony.wall)
    colony.core.returned(session, token)
    colony.fail("j", "a", token=token, session=session)
    assert colony.store.tasks(1) == before
    assert token in colony.workers["x"].acknowledged


def test_a_token_of_another_ant_is_void(colony: Colony) -> None:
    """An ant cannot end what another one holds, and is not told that it could."""
    y = colony.ant("y")
    token = colony.token("j", "a")
    colony.ok("j", "a", token=token, session=y.session)
    assert colony.states("j") == {"j": "EXECUTING", "a": "DISPATCHED"}
    assert not y.acknowledged


def test_a_result_on_a_replaced_stream_is_not_acknowledged(colony: Colony) -> None:
    """It comes again on the new stream; an acknowledgement now would make the ant forget it."""
    token, old = colony.token("j", "a"), colony.workers["x"].session
    colony.join("x")
    batch_before = colony.core.stats.stale
    colony.core.result(old, Outcome(token, ends.COMPLETED, 0))
    assert colony.core.stats.stale == batch_before + 1
    assert not colony.core.dirty()
    colony.ok("j", "a")
    assert colony.job("j").state == "COMPLETED"


def test_the_welcome_waits_for_the_commit(colony: Colony) -> None:
    """A result that is being committed when its ant comes back is taken away from it only by the commit's welcome."""
    worker, token = colony.workers["x"], colony.token("j", "a")
    colony.core.result(worker.session, Outcome(token, ends.COMPLETED, 0))
    open_batch = colony.core.cut()
    colony.core.connect(99, Hello("x", "1", worker.methods, worker.tags, 1, 1, (token,), 9))
    later = colony.core.cut()
    assert 99 not in open_batch.outgoing
    welcome = later.outgoing[99].welcome
    assert welcome is not None and welcome.kill == (token,)
    assert worker.session in later.closing


def test_a_hello_that_was_overtaken_changes_nothing(colony: Colony) -> None:
    """The stream with the higher number keeps its session and its tasks; the late one is closed."""
    worker = colony.workers["x"]
    colony.join("x")
    colony.core.connect(99, Hello("x", "1", worker.methods, worker.tags, 1, 1, (), 1))
    batch = colony.core.cut()
    assert batch.closing == [99]
    assert not batch.outgoing
    assert list(colony.core.leases.sessions) == [worker.session]
    assert list(worker.held) == [colony.token("j", "a")]


def test_a_reload_remembers_stream_numbers(colony: Colony) -> None:
    """The core that is built after a failed commit refuses what the earlier one would have refused."""
    colony.join("x")
    other = colony.recovered(1, counter=1)
    other.leases.follow(colony.core.leases)
    other.connect(99, Hello("x", "1", frozenset(), frozenset(), 1, 1, (), 1))
    assert other.cut().closing == [99]


def test_beats_renew_a_lease(colony: Colony) -> None:
    """With beats it never ends; ten seconds after the last one it does."""
    colony.advance(60.0)
    assert colony.states("j")["a"] == "DISPATCHED"
    colony.advance(9.9, beats=False)
    assert colony.states("j")["a"] == "DISPATCHED"
    colony.advance(0.2, beats=False)
    assert colony.states("j")["a"] == "READY"


def test_a_closed_stream_leaves_the_grace_or_the_rest(colony: Colony) -> None:
    """Three seconds, or less where the lease would end before."""
    colony.drop("x")
    colony.advance(2.9)
    assert colony.states("j")["a"] == "DISPATCHED"
    colony.advance(0.2)
    assert colony.states("j")["a"] == "READY"
    other = Colony()
    other.ant("x")
    other.submit("j", other.define(ONE))
    other.advance(9.0, beats=False)
    other.drop("x")
    other.advance(1.1)
    assert other.states("j")["a"] == "READY"


def test_another_process_of_the_same_ant_takes_nothing_over(colony: Colony) -> None:
    """A new incarnation begins with nothing; the old one's task waits for the end of its lease."""
    colony.die("x")
    colony.join("x")
    assert colony.states("j")["a"] == "DISPATCHED"
    assert not colony.workers["x"].held
    colony.advance(3.1)
    assert colony.token("j", "a") in colony.workers["x"].held


def test_a_drained_ant_without_tasks_is_gone_at_once(colony: Colony) -> None:
    """Nothing of it stays behind when its stream ends."""
    y = colony.ant("y")
    colony.core.drain(y.session)
    colony.drop("y")
    assert [ant.id for ant in colony.core.leases.ants.values()] == ["x"]


def test_events_of_unknown_sessions_do_nothing(colony: Colony) -> None:
    """Beats, windows, drains and ends of streams that the core does not know are harmless."""
    core = colony.core
    core.beat(77)
    core.set_window(77, 5)
    core.drain(77)
    core.disconnect(77)
    assert not core.dirty()


def test_events_of_unknown_attempts_change_nothing(colony: Colony) -> None:
    """Whatever is said of a token that nobody has, or by a session that is gone, only a result is answered."""
    core, token, gone = colony.core, colony.token("j", "a"), colony.workers["x"].session
    colony.drop("x")
    before, unknown = colony.store.tasks(1), token + 99
    for session in (77, gone):
        for named in (token, unknown):
            core.started(session, named, colony.wall)
            core.returned(session, named)
            assert core.checkpoint(session, named, b"1") == ""
    core.bury("nobody")
    assert not core.dirty()
    core.result(77, Outcome(unknown, ends.FAILED, 1))
    batch = core.cut()
    assert batch.outgoing[77].acknowledged == [unknown] and not batch.changes
    assert colony.store.tasks(1) == before
    colony.join("x")
    colony.ok("j", "a")
    assert colony.states("j") == {"j": "COMPLETED", "a": "COMPLETED"}
