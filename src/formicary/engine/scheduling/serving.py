"""How far each queue of a capacity tree is served, kept from decision to decision.

`CapacityTree.first` and `refusal` add up what is in use below every queue that they look at. Between two decisions only
one leaf changes, and with it the queues above it: their sums are made anew, in the same order, so that they are the
same to the last digit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from math import inf

from formicary.engine.scheduling.policies.capacity_tree import EPSILON, CapacityTree, Running, TreeTurns


class Serving:
    """What is in use, by queue.

    Args:
        tree: The queues.
        capacity: All there is.
        used: Amounts in use by leaf; later changes are told by `change`.
    """

    __slots__ = ("_above", "_ceilings", "_held", "_open", "_own", "_served", "_waiting", "capacity", "tree", "used")

    def __init__(self, tree: CapacityTree, capacity: float, used: Mapping[str, float]) -> None:
        self.tree = tree
        self.capacity = capacity
        self.used = dict(used)
        self._own = {name: tree.guarantee(name, capacity) for name in tree.queues}
        self._ceilings = {
            leaf: [(queue.name, tree.ceiling(queue.name, capacity)) for queue in tree.path(leaf)]
            for leaf in tree.leaves()
        }
        self._above: dict[str, list[tuple[str | None, list[str]]]] = {
            leaf: [
                (name, [child.name for child in tree.children(name)])
                for name in (*[queue.name for queue in tree.path(leaf)[1:]], None)
            ]
            for leaf in tree.leaves()
        }
        """The queues above each leaf, the whole last, with those right below them."""
        self._held: dict[str | None, float] = {name: tree.total(name, self.used) for name in (None, *tree.queues)}
        self._served = {name: self._part(name) for name in tree.queues}
        self._waiting: list[str] = []
        self._open: dict[str | None, list[str]] = {None: []}
        """Below each queue those with waiting jobs, for the leaves that wait now."""

    def change(self, leaf: str, amount: float) -> None:
        """The leaf holds this much now."""
        if self.used.get(leaf) == amount:
            return
        self.used[leaf] = amount
        held = self._held
        held[leaf] = amount
        self._served[leaf] = self._part(leaf)
        for name, below in self._above[leaf]:
            held[name] = sum([held[child] for child in below])
            if name is not None:
                self._served[name] = self._part(name)

    def put(self, name: str, amount: float) -> None:
        """A queue holds this much now, which may be less than the sum of those below it, of several resources."""
        self._held[name] = amount
        self._served[name] = self._part(name)

    def _part(self, name: str) -> float:
        own, held = self._own[name], self._held[name]
        return held / own if own > 0 else (inf if held else 1.0)

    def first(self, waiting: Sequence[str], turns: TreeTurns) -> str | None:
        """See CapacityTree."""
        if waiting != self._waiting:
            self._waiting = list(waiting)
            wanted = {queue.name for leaf in waiting for queue in self.tree.path(leaf)}
            self._open = {
                name: [child.name for child in self.tree.children(name) if child.name in wanted]
                for name in (None, *wanted)
            }
        served, at = self._served, None
        while below := self._open[at]:
            if len(below) == 1:
                at = below[0]
                continue
            least, equal = inf, below
            for name in below:
                part = served[name]
                if part < least - EPSILON:
                    least, equal = part, [name]
                elif part <= least + EPSILON and equal is not below:
                    equal.append(name)
            tags = turns.get(at) if turns and len(equal) > 1 else None
            at = min(equal, key=tags.tag) if tags is not None else equal[0]
        return at

    def exceeds(self, leaf: str, amount: float) -> bool:
        """Whether the leaf, or a queue above it, may not hold so much more."""
        held = self._held
        for name, most in self._ceilings[leaf]:  # noqa: SIM110  a loop, as it is asked for every decision
            if held[name] + amount > most + EPSILON:
                return True
        return False

    def refuses(self, leaf: str, amount: float) -> bool:
        """Whether `refusal` of the tree has anything to say; its words are for people who ask."""
        return (
            self.exceeds(leaf, amount)
            or self._held[None] + amount > self.capacity + EPSILON
            or (
                self.tree.queues[leaf].user_factor < inf
                and self.tree.refusal(leaf, self.capacity, self.used, amount) is not None
            )
        )


class Owed:
    """What `CapacityTree.reclaim` would take, of what is known of all that runs.

    Sums are kept, so they may be off by rounding.

    Args:
        tree: The queues; amounts are parts of the whole.
    """

    __slots__ = ("_own", "_running", "_used", "tree")

    def __init__(self, tree: CapacityTree) -> None:
        self.tree = tree
        leaves = tree.leaves()
        self._own = {leaf: tree.guarantee(leaf, 1.0) for leaf in leaves}
        self._used = dict.fromkeys(leaves, 0.0)
        self._running: dict[str, list[tuple[tuple[int, float, int, str], Running]]] = {leaf: [] for leaf in leaves}
        """In the order in which they would have to go."""

    def began(self, job: Running) -> None:
        """The job runs."""
        self._used[job.queue] += job.amount
        insort(self._running[job.queue], (job.turn, job))

    def ended(self, job: Running) -> None:
        """It runs no more."""
        running = self._running[job.queue]
        self._used[job.queue] -= job.amount
        del running[bisect_left(running, (job.turn,))]

    def victims(self, pending: Mapping[str, float], sizes: Mapping[str, float]) -> list[Running]:
        """Who has to go, in order.

        Args:
            pending: Amounts that wait, by leaf.
            sizes: What the next job of a leaf asks for.
        """
        own = self._own
        for leaf, held in self._used.items():
            if held > own[leaf] + EPSILON / 2:
                return self.tree.take_back(1.0, self._used, pending, self._by_turn, sizes=sizes)
        return []  # nobody holds more than is guaranteed to him

    def _by_turn(self, leaf: str) -> Iterator[Running]:
        return (job for _, job in self._running[leaf])
