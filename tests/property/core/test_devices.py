"""Devices against the obvious way: try every choice; and never two tasks on one, whatever happens."""

from __future__ import annotations

from itertools import permutations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.devices import Devices, as_text, wants
from tests.unit.core.colony import Colony

KINDS = ("a", "b", "c")
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {"count": st.integers(1, 2)}, optional={"match": st.sampled_from(KINDS).map(lambda k: {"kind": k})}
    ),
    min_size=1,
    max_size=2,
)


def slow(kinds: list[str], asked: list[str]) -> bool:
    """Whether some choice of free devices gives each its own; `asked` holds a kind, or nothing for any."""
    return any(
        all(want in ("", kind) for want, kind in zip(asked, chosen, strict=False))
        for chosen in permutations(kinds, len(asked))
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(KINDS), max_size=5), st.lists(REQUESTS, max_size=8), st.randoms(use_true_random=False))
def test_devices_against_the_slow_way(kinds: list[str], requests: list[list[dict[str, object]]], rng: object) -> None:
    book, held = Devices(), dict[int, tuple[str, ...]]()
    names = {f"d{at}": kind for at, kind in enumerate(kinds)}
    book.announce("x", {name: {"kind": kind} for name, kind in names.items()})
    for token, request in enumerate(requests):
        text = as_text(request)
        asked = [one.labels.get("kind", "") for one in wants(text)]
        taken = {name for some in held.values() for name in some}
        assert book.has("x", text) == slow(kinds, asked)
        free = slow([kind for name, kind in names.items() if name not in taken], asked)
        assert book.could("x", (text,)) == free
        if held:
            other = next(iter(held))
            rest = [kind for name, kind in names.items() if name not in taken or name in held[other]]
            assert book.could("x", (text,), {other}) == slow(rest, asked)
        if free:
            (chosen,) = book.plan("x", [text])
            assert len(set(chosen)) == len(asked) and not taken & set(chosen)
            book.reserve(token, "x", chosen)
            held[token] = chosen
        if held and token % 3 == 2:
            gone = next(iter(held))
            book.release(gone)
            del held[gone]


OPS = st.lists(
    st.tuples(
        st.sampled_from(("submit", "submit", "ok", "die", "restart", "drop", "join", "advance")), st.integers(0, 9)
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OPS)
def test_never_two_on_one_device(ops: list[tuple[str, int]]) -> None:
    """Processes that were killed may go on until their leases end: their devices are theirs until then."""
    colony = Colony(check_twin=False)
    sources = ("[{count: 1}]", "[{match: {kind: a}}]", "[{count: 2}]")
    definitions = [
        colony.define(f"job_type: j{at}\ntasks: [{{task_type: work, script: x, devices: {text}}}]\n")
        for at, text in enumerate(sources)
    ]
    colony.ant("x", 4, devices={"d0": {"kind": "a"}, "d1": {"kind": "b"}, "d2": {"kind": "a"}})
    for at, (op, number) in enumerate(ops):
        worker = colony.workers["x"]
        if op == "submit":
            colony.submit(f"s{at}", definitions[number % 3])
        elif op == "ok" and worker.session and worker.held:
            given = list(worker.held.values())[number % len(worker.held)]
            colony.ok(given.job_id, "work", token=given.token)
        elif op == "die":
            colony.die("x")
        elif op == "restart":
            colony.restart()
        elif op == "drop" and worker.session:
            colony.drop("x")
        elif op == "join":
            colony.join("x")
        elif op == "advance":
            colony.advance((0.5, 4.0, 12.0)[number % 3])
        book = colony.core.leases.devices
        held = [name for token in colony.core.leases.tokens for name in book.of_token(token)]
        assert len(held) == len(set(held))
        for token, mine in worker.held.items():
            if worker.session and token in colony.core.leases.tokens:
                assert book.of_token(token) == mine.devices, "queen and ant agree"
