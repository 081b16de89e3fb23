"""Dominant resource fairness: equal shares of whatever each tenant needs most.

A tenant's dominant share is the largest share of any one resource that it holds. Progressive filling gives the next
task to the tenant whose dominant share, divided by its weight, is smallest; ties go to the name that sorts first.

Source: Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica, "Dominant Resource Fairness: Fair Allocation of Multiple
Resource Types", NSDI 2011 (algorithm 1; section 4.3 for weights). Hierarchies: Bhattacharya, Culler, Friedman, Ghodsi,
Shenker, Stoica, "Hierarchical Scheduling for Diverse Datacenter Workloads", SoCC 2013.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Vector = Mapping[str, float]
"""Amount by resource; a resource that is missing counts as zero."""

EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Tenant:
    """One who asks for tasks of one shape.

    Args:
        name: Breaks ties; unique.
        demand: What one task takes.
        weight: Its claim beside the others'; above zero.
        tasks: Most tasks it can use; None = as many as fit.
    """

    name: str
    demand: Vector
    weight: float = 1.0
    tasks: float | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """An inner node of a hierarchy: its children share what falls to it."""

    name: str
    children: tuple[Node | Tenant, ...]
    weight: float = 1.0


def dominant_share(used: Vector, capacity: Vector, weight: float = 1.0) -> float:
    """The largest share of one resource that is held, divided by the weight; 0 where nothing is held.

    A resource that is used and does not exist gives infinity: nobody is further ahead than that.
    """
    share = 0.0
    for resource, amount in used.items():
        if amount > 0:
            total = capacity.get(resource, 0.0)
            share = max(share, amount / total if total > 0 else float("inf"))
    return share / weight


def fits(demand: Vector, free: Vector) -> bool:
    """True where every amount asked for is free, within rounding."""
    return all(amount <= free.get(resource, 0.0) + EPSILON for resource, amount in demand.items() if amount > 0)


def next_tenant(
    usage: Mapping[str, Vector], capacity: Vector, weights: Mapping[str, float] | None = None
) -> str | None:
    """The tenant to serve next: smallest weighted dominant share, then name. None without tenants."""
    known = weights or {}
    return min(
        usage, key=lambda name: (dominant_share(usage[name], capacity, known.get(name, 1.0)), name), default=None
    )


def fill(capacity: Vector, tenants: Iterable[Tenant]) -> dict[str, int]:
    """Whole tasks by progressive filling.

    A tenant whose next task does not fit leaves the round, the others go on.

    Args:
        capacity: All there is.
        tenants: Who asks; names unique, demands not empty, weights above zero.

    Returns:
        Number of tasks by tenant.

    Raises:
        ValueError: Naming the tenant that breaks a rule.
    """
    everyone = _checked(tenants)
    free = dict(capacity)
    counts = {tenant.name: 0 for tenant in everyone}
    heap = [(0.0, tenant.name, tenant) for tenant in everyone]
    heapq.heapify(heap)
    while heap:
        _, name, tenant = heapq.heappop(heap)
        if (tenant.tasks is not None and counts[name] + 1 > tenant.tasks) or not fits(tenant.demand, free):
            continue
        counts[name] += 1
        for resource, amount in tenant.demand.items():
            free[resource] = free.get(resource, 0.0) - amount
        used = {resource: amount * counts[name] for resource, amount in tenant.demand.items()}
        heapq.heappush(heap, (dominant_share(used, capacity, tenant.weight), name, tenant))
    return counts


def divide(capacity: Vector, tenants: Iterable[Tenant]) -> dict[str, float]:
    """Fractional tasks: all weighted dominant shares grow together until a resource is full or a demand is met.

    This is the ideal that `fill` comes close to; it is Pareto efficient, envy-free and strategy-proof and gives each
    tenant at least what its part of the cluster would (section 3 of the paper).
    """
    everyone = _checked(tenants)
    free = dict(capacity)
    tasks = {tenant.name: 0.0 for tenant in everyone}
    rates = {tenant.name: _rate(tenant, capacity) for tenant in everyone}
    active = [tenant for tenant in everyone if rates[tenant.name] > 0]
    while active:
        flow: dict[str, float] = {}
        for tenant in active:
            for resource, amount in tenant.demand.items():
                flow[resource] = flow.get(resource, 0.0) + amount * rates[tenant.name]
        steps = [max(0.0, free.get(resource, 0.0)) / speed for resource, speed in flow.items() if speed > 0]
        steps += [
            (tenant.tasks - tasks[tenant.name]) / rates[tenant.name] for tenant in active if tenant.tasks is not None
        ]
        step = min(steps)
        for tenant in active:
            tasks[tenant.name] += step * rates[tenant.name]
        for resource, speed in flow.items():
            free[resource] = free.get(resource, 0.0) - step * speed
        active = [tenant for tenant in active if _can_grow(tenant, tasks[tenant.name], free, capacity)]
    return tasks


def _rate(tenant: Tenant, capacity: Vector) -> float:
    """Tasks per unit of weighted dominant share; 0 for a task that can never run."""
    share = dominant_share(tenant.demand, capacity, tenant.weight)
    return 0.0 if share == float("inf") else 1.0 / share


def _can_grow(tenant: Tenant, tasks: float, free: Vector, capacity: Vector) -> bool:
    if tenant.tasks is not None and tasks >= tenant.tasks - EPSILON:
        return False
    needed = [resource for resource, amount in tenant.demand.items() if amount > 0]
    return all(free.get(resource, 0.0) > EPSILON * capacity.get(resource, 1.0) for resource in needed)


def _checked(tenants: Iterable[Tenant]) -> list[Tenant]:
    everyone = list(tenants)
    seen: set[str] = set()
    for tenant in everyone:
        if tenant.name in seen:
            raise ValueError(f"tenant {tenant.name!r} is named twice")
        seen.add(tenant.name)
        if tenant.weight <= 0:
            raise ValueError(f"tenant {tenant.name!r}: weight must be above zero, is {tenant.weight:g}")
        if not any(amount > 0 for amount in tenant.demand.values()):
            raise ValueError(f"tenant {tenant.name!r}: a task that needs nothing has no dominant share")
        if any(amount < 0 for amount in tenant.demand.values()):
            raise ValueError(f"tenant {tenant.name!r}: a demand is below zero")
    return sorted(everyone, key=lambda tenant: tenant.name)


# --- hierarchies ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """A node while filling."""

    node: Node | Tenant
    children: list[_State]
    used: dict[str, float] = field(default_factory=dict)
    count: int = 0
    blocked: bool = False
    share: float = 0.0


def fill_tree(capacity: Vector, root: Node) -> dict[str, int]:
    """Whole tasks by hierarchical DRF.

    From the root the child with the smallest share is followed down to a tenant, which gets one task. A node's share
    leaves blocked children out and counts the others' use scaled down to the least among them, so that one child's
    saturated resource neither starves its siblings nor counts against them.

    Returns:
        Number of tasks by tenant.

    Raises:
        ValueError: Naming the tenant that breaks a rule.
    """
    state = _build(root)
    leaves = [leaf for leaf in _walk(state) if isinstance(leaf.node, Tenant)]
    _checked(leaf.node for leaf in leaves if isinstance(leaf.node, Tenant))
    free = dict(capacity)
    while True:
        for leaf in leaves:
            tenant = leaf.node
            assert isinstance(tenant, Tenant), "leaves are tenants"
            full = tenant.tasks is not None and leaf.count + 1 > tenant.tasks
            leaf.blocked = leaf.blocked or full or not fits(tenant.demand, free)
        _update(state, capacity)
        if state.blocked:
            return {leaf.node.name: leaf.count for leaf in leaves}
        at = state
        while at.children:
            at = min((child for child in at.children if not child.blocked), key=lambda one: (one.share, one.node.name))
        assert isinstance(at.node, Tenant), "a path ends at a tenant"
        at.count += 1
        for resource, amount in at.node.demand.items():
            at.used[resource] = at.used.get(resource, 0.0) + amount
            free[resource] = free.get(resource, 0.0) - amount


def _build(node: Node | Tenant) -> _State:
    return _State(node, [_build(child) for child in node.children] if isinstance(node, Node) else [])


def _walk(state: _State) -> Iterable[_State]:
    yield state
    for child in state.children:
        yield from _walk(child)


def _update(state: _State, capacity: Vector) -> dict[str, float]:
    """Shares from the leaves up; returns the use that counts for the node above."""
    if not state.children:
        state.share = dominant_share(state.used, capacity, state.node.weight)
        return state.used
    counted = [(child, _update(child, capacity)) for child in state.children]
    state.blocked = all(child.blocked for child in state.children)
    growing = [child.share for child, _ in counted if not child.blocked]
    total: dict[str, float] = {}
    for child, used in counted:
        if child.blocked and not state.blocked:
            continue
        scale = min(growing) / child.share if growing and child.share > 0 else 1.0
        for resource, amount in used.items():
            total[resource] = total.get(resource, 0.0) + amount * scale
    state.share = dominant_share(total, capacity, state.node.weight)
    return total
