"""Assignment against brute force, a second algorithm and known optima; requirements as Kubernetes documents them."""

import itertools
import random
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.assignment import assign, auction, total
from formicary.engine.scheduling.policies.matchmaking import (
    Expression,
    Preference,
    Requirements,
    in_range,
    locality_cost,
    match,
    version,
)


@dataclass(frozen=True)
class Ant:
    """A host."""

    tags: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)


COST = st.one_of(st.integers(-5, 20), st.just(inf))


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(st.lists(st.lists(COST, min_size=width, max_size=width), min_size=height, max_size=height))


@settings(deadline=None)
@given(matrices())
def test_assignment_against_brute_force(costs: list[list[float]]) -> None:
    """Most rows first, then the least cost, whatever the shape and what is forbidden."""
    width = len(costs[0])
    best = (0, 0.0)
    for columns in itertools.permutations([*range(width), *([None] * len(costs))], len(costs)):
        chosen = [costs[i][k] for i, k in enumerate(columns) if k is not None]
        if inf not in chosen:
            best = min(best, (-len(chosen), sum(chosen)))
    found = assign(costs)
    taken = [k for k in found if k is not None]
    assert len(set(taken)) == len(taken) and total(costs, found) < inf
    assert (-len(taken), pytest.approx(best[1])) == (best[0], total(costs, found))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 30), min_size=n, max_size=n), min_size=n, max_size=n)
    )
)
def test_square_matrices_up_to_seven(costs: list[list[int]]) -> None:
    """Every permutation was tried: none is cheaper; the auction finds the same cost."""
    best = min(sum(costs[i][k] for i, k in enumerate(order)) for order in itertools.permutations(range(len(costs))))
    assert total(costs, assign(costs)) == best == total(costs, auction(costs))


OPTIMA = {0: 1629400, 1: 1543383, 2: 1516395, 3: 1493858, 4: 1671219, 5: 1793065}
"""Least costs of the seeded matrices below, as scipy.optimize.linear_sum_assignment (scipy 1.17.1) found them."""


@pytest.mark.parametrize("seed", OPTIMA)
def test_two_hundred_by_two_hundred(seed: int) -> None:
    """Random matrices of a bench size: the known optimum."""
    rng = random.Random(seed)
    costs = [[rng.randrange(10**6) for _ in range(200)] for _ in range(200)]
    assert total(costs, assign(costs)) == OPTIMA[seed]


def test_near_ties_of_distances_end() -> None:
    """Points in a square, where rounding makes equal paths unequal: solved, and by both algorithms alike."""
    rng = random.Random(5)
    points = [(rng.random(), rng.random()) for _ in range(120)]
    costs = [[int(1e6 * ((a - x) ** 2 + (b - y) ** 2) ** 0.5) for x, y in points[60:]] for a, b in points[:60]]
    assert total(costs, assign(costs)) == total(costs, auction(costs))
    exact = [[((a - x) ** 2 + (b - y) ** 2) ** 0.5 for x, y in points[60:]] for a, b in points[:60]]
    assert total(exact, assign(exact)) == pytest.approx(total(costs, assign(costs)) / 1e6, abs=1e-3)


def test_the_example_of_kuhn_and_munkres() -> None:
    """Munkres 1957 as lectures give it: 4 workers, optimum 140 (82 83 69 92 / 77 37 49 92 / 11 69 5 86 / 8 9 98 23)."""
    costs = [[82, 83, 69, 92], [77, 37, 49, 92], [11, 69, 5, 86], [8, 9, 98, 23]]
    assert assign(costs) == [2, 1, 0, 3] and total(costs, assign(costs)) == 140


def test_bad_matrices_are_refused() -> None:
    """The row is named."""
    with pytest.raises(ValueError, match="row 1 has 1 costs"):
        assign([[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match="row 0 holds a cost that is not a number"):
        assign([[float("nan")]])
    with pytest.raises(ValueError, match="as many columns as rows"):
        auction([[1, 2]])


LABELS = {"zone": "eu", "cores": "16", "cuda": "12.4.1"}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (Expression("zone", "In", ("eu", "us")), True),
        (Expression("zone", "In", ("us",)), False),
        (Expression("disk", "In", ("ssd",)), False),
        (Expression("zone", "NotIn", ("us",)), True),
        (Expression("disk", "NotIn", ("ssd",)), True),
        (Expression("zone", "Exists"), True),
        (Expression("disk", "Exists"), False),
        (Expression("disk", "DoesNotExist"), True),
        (Expression("cores", "Gt", ("15",)), True),
        (Expression("cores", "Gt", ("16",)), False),
        (Expression("cores", "Lt", ("17",)), True),
        (Expression("zone", "Lt", ("17",)), False),
        (Expression("disk", "Gt", ("0",)), False),
    ],
)
def test_operators(expression: Expression, holds: bool) -> None:
    """As the documentation of node affinity has them."""
    assert expression.holds(LABELS) is holds


@pytest.mark.parametrize(
    ("operator", "values", "says"),
    [
        ("Is", ("a",), "operator must be"),
        ("In", (), "at least one"),
        ("Exists", ("a",), "no values"),
        ("Gt", ("x",), "one whole"),
    ],
)
def test_bad_expressions_are_refused(operator: str, values: tuple[str, ...], says: str) -> None:
    """At once, with the key."""
    with pytest.raises(ValueError, match=f"zone: .*{says}"):
        Expression("zone", operator, values)


@pytest.mark.parametrize(
    ("have", "wanted", "holds"),
    [
        ("1.4.2", ">=1.2,<2", True),
        ("2.0.0", ">=1.2,<2", False),
        ("1.4.2", "^1.2", True),
        ("2.0.0-rc.1", "^1.2", False),
        ("0.3.1", "^0.2.3", False),
        ("1.2.9", "~1.2.3", True),
        ("1.3.0", "~1.2.3", False),
        ("12", "12.0.0", True),
        ("1.5.0", "!=1.5.0", False),
        ("1.0.0-alpha", "<1.0.0", True),
    ],
)
def test_version_ranges(have: str, wanted: str, holds: bool) -> None:
    """Comparators that must all hold."""
    assert in_range(have, wanted) is holds


def test_versions_sort_as_the_specification_has_them() -> None:
    """Semantic Versioning 2.0.0, section 11.4: the published chain."""
    chain = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ]
    assert all(version(one) < version(other) for one, other in pairwise(chain))


def test_what_is_lacking_is_said() -> None:
    """In words that `explain` can show."""
    wants = Requirements(
        frozenset({"gpu"}), {"zone": "us"}, (Expression("cores", "Gt", ("32",)),), {"cuda": ">=12.5", "driver": "^5"}
    )
    assert wants.unmet(Ant(labels=LABELS)) == [
        "tag gpu",
        "label zone=us",
        "cores Gt 32",
        "cuda >=12.5 (has 12.4.1)",
        "driver ^5 (has none)",
    ]


def test_preferences_decide_and_never_leave_a_job_out() -> None:
    """Both want the better ant; the one that can run nowhere else gets it."""
    good, plain = Ant(frozenset({"ssd", "x"})), Ant(frozenset({"x"}))
    likes = Requirements(preferred=(Preference(tags=frozenset({"ssd"}), weight=100),))
    needs = Requirements(frozenset({"ssd"}))
    assert match([likes, needs], [good, plain]) == [1, 0]
    assert match([likes, Requirements()], [plain, good]) == [1, 0]
    assert match([needs, needs], [good, plain]) == [0, None]


def test_data_locality() -> None:
    """The ant that holds the data costs nothing, its rack one, farther two per byte; jobs go where their data is."""
    ants = [("eu", "r1", "a"), ("eu", "r1", "b"), ("eu", "r2", "c")]
    assert [locality_cost({"eu/r1/a": 10}, path) for path in ants] == [0, 10, 20]
    data = [{"eu/r2/c": 5.0}, {"eu/r1/a": 5.0}, {"eu/r1/b": 5.0}]
    hosts = [Ant() for _ in ants]
    found = match([Requirements()] * 3, hosts, lambda i, k: locality_cost(data[i], ants[k]))
    assert found == [2, 0, 1]
