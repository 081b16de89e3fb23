"""What every store must do: the port's contract."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formicary.engine.jobs.fan_out import element_position
from formicary.engine.storage.port import (
    DEFINITION_COLUMNS,
    JOB_COLUMNS,
    LIVE_JOB_STATES,
    TASK_COLUMNS,
    AuditQuery,
    Changes,
    DeadLetterQuery,
    Fenced,
    Row,
    RowRefused,
    Store,
    StoreUnavailable,
)
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import (
    JOB_STATES,
    TASK_STATES,
    changes,
    definition,
    images,
    is_job,
    job,
    job_id,
    key,
    params,
    row,
    task,
)


def rows_of(store: Store, **filters: Any) -> list[Any]:
    return [one for page in store.jobs("default", **filters) for one in page]


def test_the_last_image_of_a_row_wins(place: Place, store: Store, epoch: int) -> None:
    store.commit(epoch, changes(job(1), task(1, 0, "READY"), values=[params(1, b"a")]))
    last = changes(job(1, "EXECUTING", execution=1), task(1, 0, "EXECUTING", token=7), values=[params(1, b"b", b"v")])
    store.commit(epoch, last)
    for reader in (store, place.open()):
        assert reader.job("default", job_id(1)) == job(1, "EXECUTING", execution=1)
        assert reader.tasks(1) == [task(1, 0, "EXECUTING", token=7)]
        assert reader.params([1]) == {1: (b"b", b"v")}


def test_a_writer_with_an_old_epoch_changes_nothing(place: Place, store: Store, epoch: int) -> None:
    store.commit(epoch, changes(job(1)))
    newer = store.acquire("another queen")
    assert newer == epoch + 1
    with pytest.raises(Fenced):
        store.commit(
            epoch,
            changes(
                job(1, "EXECUTING"), job(2), task(1), key("k", 2), definitions=[definition("d1")], values=[params(2)]
            ),
        )
    assert rows_of(store) == [job(1)]
    assert (store.tasks(1), store.find_keys("default", ["k"]), store.definition("d1")) == ([], {}, None)
    store.commit(newer, changes(job(3)))
    assert rows_of(place.open()) == [job(3), job(1)]


def test_an_empty_batch_still_asks_the_fence(store: Store, epoch: int) -> None:
    store.commit(epoch, Changes())
    store.acquire("another queen")
    with pytest.raises(Fenced):
        store.commit(epoch, Changes())


def test_each_taking_of_the_colony_raises_the_epoch_by_one(place: Place, store: Store) -> None:
    taken = [store.acquire("a"), store.acquire("b"), place.open().acquire("c")]
    assert taken == [taken[0], taken[0] + 1, taken[0] + 2]
    assert place.open().load().epoch == taken[-1]


def test_an_empty_store_loads_empty(store: Store) -> None:
    snapshot = store.load()
    assert (snapshot.last_number, snapshot.last_order) == (0, 0)
    assert [*snapshot.definitions, *snapshot.jobs, *snapshot.tasks, *snapshot.params] == []
    assert store.counts() == {}
    assert rows_of(store) == []
    assert store.latest_definition("default", "noop") is None


def test_load_reads_live_jobs_and_what_belongs_to_them(place: Place, store: Store, epoch: int) -> None:
    for number, state in enumerate(JOB_STATES, start=1):
        one = changes(
            job(number, state, definition_id=f"d{number}", execution=int(state != "PENDING")),
            task(number, 1, "PENDING"),
            task(number, 0, ended_order=number * 10),
            values=[params(number, b"%d" % number)],
            definitions=[definition(f"d{number}", number)],
        )
        store.commit(epoch, one)
    restarted = changes(job(8, execution=2, definition_id="d8"), task(8), values=[params(8)])
    store.commit(epoch, restarted)
    snapshot = place.open().load()
    live = [number for number, state in enumerate(JOB_STATES, start=1) if state in LIVE_JOB_STATES]
    begun = [number for number in live if JOB_STATES[number - 1] != "PENDING"]
    assert [row[0] for row in snapshot.jobs] == [*live, 8]
    assert [(row[0], row[1]) for row in snapshot.tasks] == [(n, p) for n in begun for p in (0, 1)] + [(8, 0)]
    assert snapshot.params == {number: (b"%d" % number, None) for number in begun}
    assert sorted(str(row[0]) for row in snapshot.definitions) == [f"d{number}" for number in live]
    assert (snapshot.last_number, snapshot.last_order) == (8, len(JOB_STATES) * 10)


def test_the_highest_numbers_outlive_the_jobs_that_had_them(place: Place, store: Store, epoch: int) -> None:
    store.commit(epoch, changes(job(41), task(41, ended_order=17)))
    store.commit(epoch, changes(job(41, "COMPLETED"), task(41, 0, "COMPLETED", ended_order=None)))
    snapshot = place.open().load()
    assert (snapshot.last_number, snapshot.last_order, list(snapshot.jobs)) == (41, 17, [])


def test_parameters_of_unknown_jobs_are_absent(store: Store, epoch: int) -> None:
    big = bytes(range(256)) * 5000
    store.commit(epoch, changes(values=[params(1, b""), params(2, big, b""), params(3, b"c", big)]))
    assert store.params([1, 2, 3, 4, -1]) == {1: (b"", None), 2: (big, b""), 3: (b"c", big)}
    assert store.params([]) == {}


def test_ids_and_keys_are_found_in_bulk(store: Store, epoch: int) -> None:
    numbers = range(1, 301)
    store.commit(epoch, changes(*[job(number) for number in numbers]))
    asked = [job_id(number) for number in (5, 300, 301)]
    assert store.find_ids(asked) == {job_id(5): 5, job_id(300): 300}
    assert store.find_ids([]) == {}
    assert store.find_ids(["\0", "ä\N{ANT}'\"", "x" * 10_000]) == {}
    assert store.job("default", "no such") is None
    assert store.job("other", job_id(5)) is None


def test_a_key_is_unique_within_its_organisation(place: Place, store: Store, epoch: int) -> None:
    odd = 'ä "quoted" \\ \N{ANT}\'%'
    store.commit(epoch, changes(key(odd, 1), key(odd, 2, org="other"), key("k", 3)))
    store.commit(epoch, changes(key("k", 4, fingerprint="g")))
    for reader in (store, place.open()):
        assert reader.find_keys("default", [odd, "k", "none"]) == {odd: ("f", job_id(1)), "k": ("g", job_id(4))}
        assert reader.find_keys("other", [odd, "k"]) == {odd: ("f", job_id(2))}
        assert reader.find_keys("default", []) == {}


def test_a_batch_written_twice_is_as_if_written_once(store: Store, epoch: int) -> None:
    batch = changes(
        job(1, "EXECUTING"), task(1), key("k", 1), definitions=[definition("d1")], values=[params(1, b"x")], counter=3
    )
    for _ in range(2):  # a retry after an unknown outcome
        store.commit(epoch, batch)
    assert (rows_of(store), store.tasks(1), store.params([1])) == ([job(1, "EXECUTING")], [task(1)], {1: (b"x", None)})
    assert store.definition("d1") == definition("d1")


def test_the_latest_version_of_a_definition_is_found(store: Store, epoch: int) -> None:
    versions = [definition(f"d{version}", version) for version in (1, 2, 10)]
    other = definition("o", 99, org="other")
    store.commit(epoch, changes(definitions=[*versions, other]))
    assert store.latest_definition("default", "noop") == versions[-1]
    assert store.latest_definition("other", "noop") == other
    assert store.latest_definition("default", "none") is None


def test_versions_that_may_be_public_are_found_over_organisations(store: Store, epoch: int) -> None:
    """With the newest of each organisation, newest first, and without what templates have made."""
    public = {"source": "public_plugin: true"}
    rows = [definition("a1", 1, org="a", **public), definition("a2", 2, org="a"), definition("a3", 3, org="a")]
    rows += [
        definition("b1", 1, org="b"),
        definition("b2", 2, org="b", **public),
        definition("c", -1, org="c", **public),
    ]
    store.commit(epoch, changes(definitions=[*rows, definition("d", 1, org="a", job_type="other", **public)]))
    assert [row[0] for row in store.definitions_of_all("noop")] == ["a3", "a1", "b2"]
    assert store.definitions_of_all("none") == []


def test_definitions_are_listed_by_type_and_newest_version_in_pages(store: Store, epoch: int) -> None:
    """No page repeats or leaves out one; texts are there where they are asked for."""
    kept = [definition(f"{kind}{version}", version, job_type=kind) for kind in "ab" for version in (1, 2, 10)]
    store.commit(epoch, changes(definitions=[*kept, definition("o", 99, org="other")]))
    found, after = [], ("", 0)
    while page := store.definitions("default", after=after, limit=2, with_source=True):
        found += page
        after = (str(page[-1][2]), int(page[-1][3] or 0))
    assert found == [kept[at] for at in (2, 1, 0, 5, 4, 3)]
    bare = store.definitions("default", job_type="b", limit=2)
    assert bare == [(*row[:4], "", *row[5:]) for row in (kept[5], kept[4])]
    assert store.definitions("default", job_type="b", after=("b", 1)) == []


@pytest.mark.parametrize("count", [1, 2, 5, 63, 100, 255, 256, 257, 300, 1000])
def test_batches_of_any_size_arrive_whole(store: Store, epoch: int, count: int) -> None:
    jobs = [job(number, priority=number) for number in range(1, count + 1)]
    tasks = [task(1, position, attempts=position) for position in range(count)]
    store.commit(epoch, changes(*jobs, *tasks, values=[params(number, b"%d" % number) for number in range(count)]))
    assert list(store.load().jobs) == jobs
    assert store.tasks(1) == tasks
    assert store.params(range(count)) == {number: (b"%d" % number, None) for number in range(count)}


def test_elements_are_apart_from_tasks(store: Store, epoch: int) -> None:
    plain = [task(1, 0), task(1, 1, "COMPLETED")]
    first = [task(1, element_position(0, index), "FAILED" if index == 2 else "COMPLETED") for index in range(5)]
    second = [task(1, element_position(1, 0), "READY")]
    store.commit(epoch, changes(job(1, "EXECUTING", execution=1), job(2), *plain, *first, *second, task(2, 0)))
    assert store.tasks(1) == plain
    assert store.tasks(1, elements=True) == list(store.load().tasks[:8]) == [*plain, *first, *second]
    assert store.element_states(1) == [(0, "COMPLETED", 4), (0, "FAILED", 1), (1, "READY", 1)]
    assert store.element_states(2) == store.elements(2, 0) == []
    assert store.elements(1, 0, limit=2) == first[:2]
    assert store.elements(1, 0, after=1) == first[2:]
    assert store.elements(1, 0, states=["FAILED", "READY"]) == [first[2]]
    assert store.elements(1, 1) == second


def test_lists_are_pages_newest_first_under_every_filter(store: Store, epoch: int) -> None:
    rows = [
        job(number, JOB_STATES[number % 5], org="default" if number % 7 else "other", job_type=f"t{number % 3}")
        for number in range(1, 121)
    ]
    store.commit(epoch, changes(*rows))
    for states in ((), ("PENDING",), ("COMPLETED", "PENDING", "PENDING"), ("CANCELLED",), JOB_STATES):
        for job_type in ("", "t1", "none"):
            for limit in (0, 1, 9, 1000):
                expected = [
                    row
                    for row in reversed(rows)
                    if row[2] == "default" and (not states or row[5] in states) and job_type in ("", row[4])
                ][: limit or None]
                pages = list(store.jobs("default", states=states, job_type=job_type, limit=limit, page=10))
                assert [row for page in pages for row in page] == expected
                assert all(1 <= len(page) <= 10 for page in pages)
    assert store.counts() == dict.fromkeys(JOB_STATES[:5], 24)
    for states in ((), ("PENDING",), ("COMPLETED", "PENDING"), JOB_STATES):
        for org, job_type in (("default", "t1"), ("other", "t1"), ("default", "none")):
            wanted = sum(row[2] == org and row[5] in states and row[4] == job_type for row in rows)
            assert store.count_jobs(org, job_type, states) == wanted


def test_a_list_goes_on_while_jobs_are_written(store: Store, epoch: int) -> None:
    store.commit(epoch, changes(*[job(number) for number in range(1, 31)]))
    pages = store.jobs("default", page=10)
    seen = next(pages)
    store.commit(epoch, changes(job(31), job(5, "COMPLETED")))
    seen = seen + [row for page in pages for row in page]
    assert [row[0] for row in seen] == list(range(30, 0, -1))


def test_readers_never_see_half_a_batch(store: Store, epoch: int) -> None:
    done = threading.Event()
    torn: list[object] = []

    def read() -> None:
        while not done.is_set():
            snapshot = store.load()
            jobs, tasks = list(snapshot.jobs), list(snapshot.tasks)
            if len({row[JOB_COLUMNS.index("pauses")] for row in jobs}) > 1 or len(jobs) != len(tasks):
                torn.append(snapshot)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        rows = [job(number, "EXECUTING", pauses=turn) for number in range(1, 21)]
        store.commit(epoch, changes(*rows, *[task(number, attempts=turn) for number in range(1, 21)]))
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []


def test_the_writer_may_be_another_thread_than_the_one_that_opened(store: Store, epoch: int) -> None:
    thread = threading.Thread(target=store.commit, args=(epoch, changes(job(1))))
    thread.start()
    thread.join()
    assert rows_of(store) == [job(1)]


@pytest.mark.parametrize(
    "bad",
    [
        job(2, "NO_SUCH_STATE"),
        task(1, 0, "NO_SUCH_STATE"),
        job(2, id=job_id(1)),
        job(2)[:-1],
        job(2, priority={}),
    ],
    ids=["job state", "task state", "id used twice", "row too short", "type"],
)
def test_a_row_that_breaks_a_rule_is_refused_with_its_batch(store: Store, epoch: int, bad: Any) -> None:
    store.commit(epoch, changes(job(1)))
    batch = changes(job(3))
    if is_job(bad):
        batch.jobs[bad[0]] = bad
    else:
        batch.tasks[bad[:2]] = bad
    with pytest.raises(RowRefused):
        store.commit(epoch, batch)
    assert rows_of(store) == [job(1)]
    store.commit(epoch, changes(job(4)))
    assert rows_of(store) == [job(4), job(1)]


def test_close_may_be_called_twice(store: Store) -> None:
    store.close()
    store.close()


def test_a_closed_store_says_so(durable: Place) -> None:
    store = durable.open()
    epoch = store.acquire("test")
    store.close()
    for call in (store.load, store.counts, lambda: store.commit(epoch, changes(job(1)))):
        with pytest.raises(StoreUnavailable, match="not open"):
            call()


def test_text_that_no_database_can_hold_is_stored_with_replacements(durable: Place) -> None:
    store = durable.open()
    epoch = store.acquire("test")
    text = "a\udce4b\0c"
    store.commit(epoch, changes(job(1, error_message=text), task(1, traceback=text)))
    kept = "a\ufffdb\0c" if store.capabilities.keeps_nul else "a\ufffdb\ufffdc"
    assert store.tasks(1) == [task(1, traceback=kept)]
    assert rows_of(store) == [job(1, error_message=kept)]


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(place: Place, data: st.DataObject) -> None:
    """Random images of a few rows, written in random batches: a new store shows the last image of each."""
    store = place.opened[-1] if place.opened else place.open()
    epoch = store.acquire("test")
    nul = store.capabilities.keeps_nul
    last_number = store.load().last_number
    expected = Changes()
    for _ in range(data.draw(st.integers(1, 3))):
        batch = Changes(counter=data.draw(st.integers(0, 2**63 - 1)))
        for at in data.draw(st.sets(st.integers(1, 4))):
            number = last_number + at
            fixed = {"number": number, "id": job_id(number), "state": data.draw(st.sampled_from(LIVE_JOB_STATES[1:]))}
            image = {**data.draw(images(JOB_COLUMNS, nul=nul)), **fixed, "definition_id": f"d{number}"}
            batch.jobs[number] = row(JOB_COLUMNS, **image)
            image = {**data.draw(images(TASK_COLUMNS, nul=nul)), "job": number, "position": at % 2}
            image["state"] = data.draw(st.sampled_from(TASK_STATES))
            image["ended_order"] = data.draw(st.none() | st.integers(1, 2**62))
            batch.tasks[number, at % 2] = row(TASK_COLUMNS, **image)
            drawn = data.draw(st.tuples(st.binary(max_size=50), st.none() | st.binary(max_size=50)))
            batch.params[number] = (number, *drawn)
            image = {**data.draw(images(DEFINITION_COLUMNS, nul=nul)), "id": f"d{number}", "version": number}
            image |= {"org": "o", "job_type": "t"}
            batch.definitions[f"d{number}"] = row(DEFINITION_COLUMNS, **image)
        store.commit(epoch, batch)
        for name in ("jobs", "tasks", "params", "definitions"):
            getattr(expected, name).update(getattr(batch, name))
    for reader in (store, place.kept if place.kind == "memory" else place.open()):
        snapshot = reader.load()
        new = {row[0]: row for row in snapshot.jobs if row[0] > last_number}  # type: ignore[operator]  # a number
        assert new == expected.jobs
        assert {(row[0], row[1]): row for row in snapshot.tasks if row[0] in new} == expected.tasks
        assert {number: (number, *snapshot.params[number]) for number in new} == expected.params  # type: ignore[index]  # a number
        assert {row[0]: row for row in snapshot.definitions if row[0] in expected.definitions} == expected.definitions
        types = [type(value) for row in snapshot.tasks for value in row]
        assert set(types) <= {int, float, str, bytes, type(None)}
    if place.kind != "memory":
        place.opened.pop().close()


def test_tokens(place: Place) -> None:
    """Tokens are kept across restarts in order of creation, each id once; revoking one marks it, once."""
    store = place.open()
    first = ("a", "local", "admin", "", "00ff", "1234", 1.5, None, None)
    second = ("b", "acme", "viewer", "größer", "11", "5678", 2.5, 9.25, None)
    store.add_token(second)
    store.add_token(first)
    with pytest.raises(RowRefused):
        store.add_token(first)
    assert place.open().tokens() == store.tokens() == [first, second]
    assert store.revoke_token("a", 3.5) and not store.revoke_token("a", 4.5) and not store.revoke_token("c", 4.5)
    assert store.tokens() == [(*first[:-1], 3.5), second]


def test_schedules_are_replaced_by_their_key_and_kept_in_order(place: Place) -> None:
    """A later image of a schedule replaces the earlier one, in the commit of whatever else is written with it."""
    store = place.open()
    epoch = store.acquire("test")
    first = ("local", "b", "cron", "d1", 1, b'{"expression":"x"}', 1.5, 0, None, "", b"[]")
    other = ("acme", "größer", "cron", "d2", 3, None, None, 1, 2.5, "job", b"[1.0,2.0]")
    changes = Changes()
    changes.schedules[("local", "b", "cron")] = first
    changes.schedules[("acme", "größer", "cron")] = other
    assert changes and changes.rows() == 2
    store.commit(epoch, changes)
    assert store.schedules() == [other, first]
    again = Changes()
    again.schedules[("local", "b", "cron")] = (*first[:6], None, *first[7:])
    store.commit(epoch, again)
    assert store.schedules() == place.open().schedules() == [other, (*first[:6], None, *first[7:])]


def test_event_triggers_and_letters_are_kept(place: Place) -> None:
    """A later image of a trigger replaces the earlier one; letters come newest first and go oldest first."""
    store = place.open()
    epoch = store.acquire("test")
    first = ("local", "b", "push", "d1", 1, b"{}", 0, 0, b"{}", 0, None, "", 0.0, 0)
    other = ("acme", "größer", "q", "d2", 3, None, 1, 2, b'{"a":1}', 7, 2.5, "job", 1.5, 4)
    changes = Changes()
    changes.triggers[("local", "b", "push")] = first
    changes.triggers[("acme", "größer", "q")] = other
    letters = [(f"l{i}", "local", "b", "push", f"s:{i}", "größer", b"\x00x", float(i)) for i in range(3)]
    changes.letters.update({str(row[0]): row for row in letters})
    assert changes and changes.rows() == 5
    store.commit(epoch, changes)
    assert store.triggers() == [other, first]
    again = Changes()
    again.triggers[("local", "b", "push")] = (*first[:6], 1, *first[7:])
    again.letters["l0"] = letters[0]
    store.commit(epoch, again)
    assert store.triggers() == place.open().triggers() == [other, (*first[:6], 1, *first[7:])]
    assert store.letters("local", "", 2) == letters[:0:-1]
    assert store.letters("local", "b", 9) == letters[::-1] and store.letters("acme", "", 9) == []
    assert (store.purge_letters(2.0, 1), store.purge_letters(2.0, 9), store.purge_letters(2.0, 9)) == (1, 1, 0)
    assert store.letters("local", "", 9) == letters[2:]


def _asked(job: int, position: int, attempt: int, state: str, *, org: str = "local") -> Row:
    return (job, position, attempt, org, f"j{job}", "größer", "gate", b"{}", state, 1.5, 2.5, None, None, None)


def test_questions_to_people_and_their_votes(place: Place) -> None:
    """Open questions are listed and loaded with their votes; all of a job are listed by its number; pages go on."""
    store = place.open()
    epoch = store.acquire("test")
    asked = [_asked(1, 0, 1, "OPEN"), _asked(1, 2, 1, "APPROVED"), _asked(1, 2, 2, "OPEN"), _asked(3, 0, 1, "OPEN")]
    asked.append(_asked(4, 0, 1, "OPEN", org="acme"))
    votes: list[Row] = [
        (1, 0, 1, "ann", 1, "fine", "k", 2.0),
        (1, 0, 1, "bob", 0, "", "", 1.0),
        (1, 2, 1, "ann", 1, "", "", 3.0),
    ]
    changes = Changes()
    changes.approvals = {row[:3]: row for row in asked}  # type: ignore[misc]  # keys by the columns
    changes.votes = {vote[:4]: vote for vote in votes}  # type: ignore[misc]  # keys by the columns
    assert changes and changes.rows() == 8
    store.commit(epoch, changes)
    again = Changes()
    again.approvals[3, 0, 1] = decided = (*_asked(3, 0, 1, "REJECTED")[:12], 9.0, "deadline")
    store.commit(epoch, again)
    for opened in (store, place.open()):
        assert opened.approvals("local") == [asked[0], asked[2]]
        assert opened.approvals("local", limit=1) == [asked[0]]
        assert opened.approvals("local", after=(1, 0, 1)) == [asked[2]]
        assert opened.approvals("local", job=1) == [asked[0], asked[1], asked[2]]
        assert opened.approvals("local", job=1, after=(1, 2, 1)) == [asked[2]]
        assert opened.approvals("local", job=3) == [decided] and opened.approvals("acme", job=3) == []
        assert opened.votes([1, 3]) == [votes[1], votes[0], votes[2]] and opened.votes([]) == []
        snapshot = opened.load()
        assert [row for row in snapshot.approvals if row[3] == "local"] == [asked[0], asked[2]]
        assert list(snapshot.votes) == [votes[1], votes[0]]
    wrong = Changes()
    wrong.approvals[9, 0, 1] = _asked(9, 0, 1, "MAYBE")
    with pytest.raises(RowRefused):
        store.commit(epoch, wrong)


def _audited(time: float, *, org: str = "local", principal: str = "p", resource: str = "r", code: str = "OK") -> Row:
    return (time, org, principal, "formicary.v1.JobService/CancelJob", resource, code, "0" * 32, "peer", "http", 0)


def test_audit_records_are_numbered_found_by_what_they_say_and_listed_newest_first(place: Place) -> None:
    """Numbers only grow, each filter counts, and a page goes on below a number."""
    store = place.open()
    store.add_audit(
        [_audited(float(at), principal=f"p{at % 2}", code="OK" if at % 3 else "NOT_FOUND") for at in range(250)]
    )
    store.add_audit([_audited(250.5, org="acme", resource="bad \0 text \ud800")])
    rows = store.audit(AuditQuery(), 1000)
    numbers = [int(row[0] or 0) for row in rows]
    assert numbers == sorted(numbers, reverse=True)
    assert [row[1] for row in rows] == [250.5, *(float(at) for at in range(249, -1, -1))]
    assert rows[0][5] == "bad \ufffd text \ufffd"
    assert store.audit(AuditQuery(before=numbers[9]), 10) == rows[10:20]
    assert len(store.audit(AuditQuery(org="acme"), 10)) == 1
    assert len(store.audit(AuditQuery(principal="p1", code="NOT_FOUND"), 1000)) == len(range(3, 250, 6))
    assert [row[1] for row in store.audit(AuditQuery(since=10.0, until=12.0), 10)] == [11.0, 10.0]
    assert store.audit(AuditQuery(resource="\0"), 10) == []


def test_old_audit_records_leave_in_batches_and_their_numbers_are_not_used_again(place: Place) -> None:
    """A purge takes the oldest first, at most as many as it is told, and nothing that is young."""
    store = place.open()
    store.add_audit([_audited(float(at)) for at in range(10)])
    last = store.audit(AuditQuery(), 1)[0][0]
    assert [store.purge_audit(5.0, 3), store.purge_audit(5.0, 3), store.purge_audit(5.0, 3)] == [3, 2, 0]
    assert [row[1] for row in store.audit(AuditQuery(), 100)] == [9.0, 8.0, 7.0, 6.0, 5.0]
    assert store.purge_audit(100.0, 100) == 5
    store.add_audit([_audited(11.0)])
    assert int(store.audit(AuditQuery(), 1)[0][0] or 0) > int(last or 0)


def test_ended_jobs_are_removed_with_what_belongs_to_them(store: Store, epoch: int) -> None:
    """Live jobs and their neighbours stay; the highest number is remembered; keys go with their job."""
    batch = changes(
        *(job(n, "COMPLETED", submitted_at=1.0, ended_at=2.0) for n in (1, 2, 5)),
        job(3, "EXECUTING", submitted_at=1.0),
        job(4, "FAILED", submitted_at=1.0, ended_at=3.0, dead_letter=1),
        *(task(n, position, "COMPLETED") for n in (1, 2, 4, 5) for position in (0, 1)),
        values=[params(n) for n in range(1, 6)],
    )
    batch.keys = {("default", f"k{n}"): key(f"k{n}", n) for n in range(1, 6)}
    for n in (1, 2):
        batch.approvals[n, 0, 1] = _asked(n, 0, 1, "APPROVED")
        batch.votes[n, 0, 1, "me"] = (n, 0, 1, "me", 1, "", "", 1.0)
    store.commit(epoch, batch)
    found = store.ended_jobs(0, 3)
    assert [(r[0], r[1], r[3], r[5], r[6]) for r in found] == [
        (1, job_id(1), "COMPLETED", 2.0, 2), (2, job_id(2), "COMPLETED", 2.0, 2),
        (4, job_id(4), "FAILED", 3.0, 2),
    ]  # fmt: skip
    assert [bool(r[9]) for r in found] == [False, False, True]  # the last one is a dead letter
    assert [r[0] for r in store.ended_jobs(4, 3)] == [5] and store.ended_jobs(5, 3) == []
    assert store.remove_jobs(epoch, [1, 3, 5, 77]) == 2
    assert store.find_ids([job_id(n) for n in range(1, 6)]) == {job_id(n): n for n in (2, 3, 4)}
    assert store.tasks(1) == store.tasks(5) == [] and len(store.tasks(2)) == len(store.tasks(4)) == 2
    assert sorted(store.params(range(1, 6))) == [2, 3, 4]
    assert [vote[0] for vote in store.votes([1, 2])] == [2]
    assert store.approvals("local", job=1) == [] and store.approvals("local", job=2) == [_asked(2, 0, 1, "APPROVED")]
    assert store.load().last_number == 5
    assert store.remove_keys(("", ""), 3) == (1, ("default", "k3"))
    assert store.remove_keys(("default", "k3"), 3) == (1, ("default", "k5"))
    assert store.remove_keys(("default", "k5"), 3) == (0, None)
    assert sorted(store.find_keys("default", [f"k{n}" for n in range(1, 6)])) == ["k2", "k3", "k4"]


def test_a_queen_that_leads_no_longer_removes_nothing(store: Store, epoch: int) -> None:
    store.commit(epoch, changes(job(1, "FAILED", ended_at=1.0), task(1, 0, "FAILED")))
    later = store.acquire("another")
    with pytest.raises(Fenced):
        store.remove_jobs(epoch, [1])
    assert len(store.tasks(1)) == 1 and store.remove_jobs(later, [1]) == 1


def _letter(job: int, execution: int, state: str, *, org: str = "local", key: str = "", **given: object) -> Row:
    values: dict[str, object] = {"queue": "größer", "reason": "POISON", "dead_at": float(job), "job_type": "t", **given}
    head = (job, execution, org, f"j{job}", values["job_type"], values["queue"], values["reason"], "work")
    return (*head, "ERR_POISON", "gone", 5, 1, values["dead_at"], state, None, key, "print" if key else "")  # type: ignore[return-value]  # as the columns say


def test_dead_letters_are_listed_by_filter_and_go_with_their_jobs(place: Place) -> None:
    """Either order, pages from behind a key, counts by queue, those of one call; removed jobs take theirs along."""
    store = place.open()
    epoch = store.acquire("test")
    rows = [
        _letter(1, 1, "REDRIVEN", key="k"),
        _letter(1, 2, "DEAD", reason="FATAL"),
        _letter(2, 1, "DEAD", queue="other", job_type="u"),
        _letter(3, 1, "DEAD"),
        _letter(4, 1, "DEAD", org="acme"),
    ]
    changes = Changes()
    changes.dead_letters = {row[:2]: row for row in rows}  # type: ignore[misc]  # keys by the columns
    changes.jobs = {3: job(3, "FAILED", ended_at=1.0)}
    assert changes and changes.rows() == 6
    store.commit(epoch, changes)
    for reader in (store, place.open()):
        dead = [rows[1], rows[2], rows[3]]
        assert reader.dead_letters(DeadLetterQuery("local"), 9) == dead
        assert reader.dead_letters(DeadLetterQuery("local", newest_first=True), 2) == dead[:0:-1]
        assert reader.dead_letters(DeadLetterQuery("local", after=(1, 2)), 9) == dead[1:]
        assert reader.dead_letters(DeadLetterQuery("local", after=(3, 1), newest_first=True), 9) == dead[1::-1]
        assert reader.dead_letters(DeadLetterQuery("local", queue="other", job_type="u"), 9) == [rows[2]]
        assert reader.dead_letters(DeadLetterQuery("local", reason="FATAL", job=1), 9) == [rows[1]]
        assert reader.dead_letters(DeadLetterQuery("local", before=3.0), 9) == dead[:2]
        assert (
            reader.dead_letters(DeadLetterQuery("local", "REDRIVEN"), 9) == reader.redriven("local", "k") == [rows[0]]
        )
        assert reader.redriven("acme", "k") == [] and reader.dead_letter_counts() == {"größer": (3, 3), "other": (1, 1)}
    assert store.remove_jobs(epoch, [3]) == 1
    assert store.dead_letters(DeadLetterQuery("local"), 9) == dead[:2]


def test_states_of_parts_are_replaced_and_forgotten(place: Place) -> None:
    """A later image replaces the earlier one; null is forgotten; each kind by itself, in order of its keys."""
    store = place.open()
    epoch = store.acquire("test")
    changes = Changes()
    rows: list[Row] = [("a", "x", "größer", b"{}", 1.5), ("a", "", "y", b"1", 1.5), ("b", "x", "y", b"2", 1.5)]
    changes.states = {row[:3]: row for row in rows}  # type: ignore[misc]  # keys by the columns
    assert changes and changes.rows() == 3
    store.commit(epoch, changes)
    assert store.states("a") == [rows[1], rows[0]] and store.states("c") == []
    again = Changes()
    again.states = {("a", "", "y"): ("a", "", "y", None, 2.5), ("b", "x", "y"): ("b", "x", "y", b"3", 2.5)}
    store.commit(epoch, again)
    assert store.states("a") == place.open().states("a") == [rows[0]]
    assert store.states("b") == [("b", "x", "y", b"3", 2.5)]


def test_what_a_template_has_made_is_no_version(store: Store) -> None:
    """Any number of rows say -n; lists and the newest version leave them out, and their ids find them."""
    rows = [
        definition(f"d{number}", version, org="o", job_type="t") for number, version in enumerate((1, -1, -1, 2, -2))
    ]
    changes = Changes()
    changes.definitions = {str(one[0]): one for one in rows}
    store.commit(store.acquire("test"), changes)
    newest = store.latest_definition("o", "t")
    assert newest is not None and newest[0] == "d3"
    assert [one[0] for one in store.definitions("o")] == ["d3", "d0"]
    assert store.definition("d2") == rows[2]
