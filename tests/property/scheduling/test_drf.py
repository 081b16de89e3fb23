"""Dominant resource fairness: the paper's examples and its four properties.

Ghodsi et al., "Dominant Resource Fairness", NSDI 2011; Bhattacharya et al., SoCC 2013.
"""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.drf import Node, Tenant, divide, dominant_share, fill, fill_tree, next_tenant

PAPER = {"cpu": 9.0, "memory": 18.0}
A = Tenant("A", {"cpu": 1, "memory": 4})
B = Tenant("B", {"cpu": 3, "memory": 1})


def test_the_example_of_the_paper() -> None:
    """Section 4.1: A runs three tasks and B two; both hold two thirds of what they need most."""
    assert fill(PAPER, [A, B]) == {"A": 3, "B": 2}
    assert divide(PAPER, [A, B]) == pytest.approx({"A": 3, "B": 2})
    assert dominant_share({"cpu": 3, "memory": 12}, PAPER) == pytest.approx(2 / 3)
    assert dominant_share({"cpu": 6, "memory": 2}, PAPER) == pytest.approx(2 / 3)


def test_the_schedule_of_the_paper() -> None:
    """Table 1: B, A, A, B, A get the five tasks in this order."""
    usage: dict[str, dict[str, float]] = {"A": {}, "B": {}}
    demands = {"A": A.demand, "B": B.demand}
    order = ""
    for step in range(5):
        name = next_tenant(usage, PAPER) if step else "B"  # the paper breaks the first tie by chance
        assert name is not None
        order += name
        for resource, amount in demands[name].items():
            usage[name][resource] = usage[name].get(resource, 0.0) + amount
    assert order == "BAABA"


def test_weights() -> None:
    """Twice the weight is twice the dominant share where both need the same resource."""
    tenants = [Tenant("A", {"cpu": 1}, weight=2), Tenant("B", {"cpu": 1})]
    assert fill({"cpu": 9}, tenants) == {"A": 6, "B": 3}


def test_a_hierarchy_does_not_starve() -> None:
    """SoCC 2013, figures 2 and 3: n2 keeps its half though one child of n1 is held up by a resource that is full."""
    tree = Node(
        "root",
        (
            Tenant("n1", {"cpu": 1}),
            Node("n2", (Tenant("n2.1", {"cpu": 1}), Tenant("n2.2", {"gpu": 1}))),
        ),
    )
    shares = fill_tree({"cpu": 100, "gpu": 100}, tree)
    assert shares["n2.2"] == 100, "nobody else wants the GPUs"
    assert shares["n1"] == pytest.approx(50, abs=1) and shares["n2.1"] == pytest.approx(50, abs=1)


def test_a_flat_tree_is_no_tree() -> None:
    """One level gives what the flat algorithm gives."""
    assert fill_tree(PAPER, Node("root", (A, B))) == fill(PAPER, [A, B])


@pytest.mark.parametrize(
    ("tenant", "says"),
    [
        (Tenant("a", {"cpu": 1}, weight=0), "'a': weight must be above zero"),
        (Tenant("a", {}), "'a': a task that needs nothing"),
        (Tenant("a", {"cpu": 1, "gpu": -1}), "'a': a demand is below zero"),
    ],
)
def test_bad_input_is_named(tenant: Tenant, says: str) -> None:
    """An error names the tenant and the rule."""
    with pytest.raises(ValueError, match=says):
        fill(PAPER, [tenant])


RESOURCES = ("cpu", "memory", "gpu")
AMOUNT = st.integers(1, 9)
DEMAND = st.fixed_dictionaries(dict.fromkeys(RESOURCES, AMOUNT))
CAPACITY = {"cpu": 60.0, "memory": 80.0, "gpu": 100.0}
DEMANDS = st.lists(DEMAND, min_size=2, max_size=4)


def tasks_of(bundle: dict[str, float], demand: dict[str, int]) -> float:
    """How many tasks of a demand can run on a bundle of resources."""
    return min(bundle[name] / amount for name, amount in demand.items())


def bundle_of(tasks: float, demand: dict[str, int]) -> dict[str, float]:
    return {name: tasks * amount for name, amount in demand.items()}


@given(DEMANDS)
def test_sharing_incentive(demands: list[dict[str, int]]) -> None:
    """Each gets at least what it could run on its n-th part of every resource."""
    got = divide(CAPACITY, [Tenant(str(i), demand) for i, demand in enumerate(demands)])
    part = {name: amount / len(demands) for name, amount in CAPACITY.items()}
    for i, demand in enumerate(demands):
        assert got[str(i)] >= tasks_of(part, demand) - 1e-6


@given(DEMANDS)
def test_envy_freeness(demands: list[dict[str, int]]) -> None:
    """Nobody could run more tasks on what another got."""
    got = divide(CAPACITY, [Tenant(str(i), demand) for i, demand in enumerate(demands)])
    for i, mine in enumerate(demands):
        for j, other in enumerate(demands):
            assert tasks_of(bundle_of(got[str(j)], other), mine) <= got[str(i)] + 1e-6


@given(DEMANDS)
def test_pareto_efficiency(demands: list[dict[str, int]]) -> None:
    """Whoever would get more finds a resource full."""
    got = divide(CAPACITY, [Tenant(str(i), demand) for i, demand in enumerate(demands)])
    used = {name: sum(got[str(i)] * demand[name] for i, demand in enumerate(demands)) for name in RESOURCES}
    for name in RESOURCES:
        assert used[name] <= CAPACITY[name] + 1e-6
    assert any(used[name] >= CAPACITY[name] - 1e-6 for name in RESOURCES)


@given(DEMANDS, DEMAND)
def test_strategy_proofness(demands: list[dict[str, int]], lie: dict[str, int]) -> None:
    """No false demand lets the one who tells it run more of its true tasks."""
    truth, others = demands[0], [Tenant(str(i), one) for i, one in enumerate(demands)][1:]
    honest = divide(CAPACITY, [Tenant("0", truth), *others])["0"]
    told = divide(CAPACITY, [Tenant("0", lie), *others])["0"]
    assert tasks_of(bundle_of(told, lie), truth) <= honest + 1e-6


@given(DEMANDS, st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_whole_tasks_against_the_slow_twin(demands: list[dict[str, int]], weights: list[int]) -> None:
    """The heap picks as one that looks at everyone each time does, and never takes more than there is."""
    tenants = [Tenant(str(i), demand, weights[i]) for i, demand in enumerate(demands)]
    counts = dict.fromkeys((tenant.name for tenant in tenants), 0)
    open_ones = list(tenants)
    free = dict(CAPACITY)
    while open_ones:
        one = min(
            open_ones,
            key=lambda t: (max(counts[t.name] * a / CAPACITY[r] for r, a in t.demand.items()) / t.weight, t.name),
        )
        if all(amount <= free[name] for name, amount in one.demand.items()):
            counts[one.name] += 1
            free = {name: amount - one.demand[name] for name, amount in free.items()}
        else:
            open_ones.remove(one)
    assert fill(CAPACITY, tenants) == counts
    assert min(free.values()) >= 0


@given(DEMANDS, st.integers(0, 6))
def test_a_met_demand_leaves_the_rest_to_the_others(demands: list[dict[str, int]], most: int) -> None:
    """A tenant gets no more tasks than it can use, and the others no fewer than before."""
    plain = [Tenant(str(i), demand) for i, demand in enumerate(demands)]
    assume(divide(CAPACITY, plain)["0"] > most)
    got = divide(CAPACITY, [Tenant("0", demands[0], tasks=most), *plain[1:]])
    assert got["0"] == pytest.approx(most)
