"""Optimal assignment: each row to a column of its own, at the least total cost.

`assign` is the shortest augmenting path algorithm of Jonker and Volgenant ("A shortest augmenting path algorithm for
dense and sparse linear assignment problems", Computing 38, 1987): augmenting row reduction, then Dijkstra from each row
that is left. It is the Hungarian method's dual in O(n^3). Rows are sorted once; as no column's price ever rises above
zero, a row's scan ends where the plain cost alone is no better than the best path found, which is what makes pure
Python quick enough here.

`auction` is Bertsekas' algorithm ("The auction algorithm", Annals of Operations Research 14, 1988) with scaling: the
second opinion, exact for whole-numbered costs.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from math import inf, isnan

SAMPLE = 25
"""Costs of a row that are looked at to guess which of them are small."""

Costs = Sequence[Sequence[float]]
"""A row for each one that is to be assigned; infinity where a pair is impossible."""


def assign(costs: Costs) -> list[int | None]:
    """The cheapest assignment among those that serve most rows.

    Args:
        costs: Any shape; infinity forbids a pair. All rows have one length.

    Returns:
        For each row its column, or None where it goes without one.

    Raises:
        ValueError: Rows of several lengths, or a cost that is not a number or minus infinity.
    """
    steps = assign_in_steps(costs)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            found: list[int | None] = ended.value
            return found


def assign_in_steps(costs: Costs) -> Generator[None, None, list[int | None]]:
    """The same for somebody who has other things to do: it pauses after each row that it has looked at.

    A pause comes after about as many operations as there are columns, seldom a few times as many.
    """
    height, width = _shape(costs)
    if not height or not width:
        return [None] * height
    if height > width:
        turned = yield from assign_in_steps([list(column) for column in zip(*costs, strict=True)])
        found: list[int | None] = [None] * height
        for column, row in enumerate(turned):
            if row is not None:
                found[row] = column
        return found
    yield
    if any(inf in row for row in costs):
        return (yield from _assign_some(costs, width))
    yield
    rows: Costs = costs
    if height == width:  # every column is taken in the end: what all rows pay for it changes nothing
        least = list(costs[0])
        for line in costs:
            least = list(map(min, least, line))
            yield
        lowered: list[list[float]] = []
        rows = lowered
        for line in costs:
            lowered.append([cost - base for cost, base in zip(line, least, strict=True)])
            yield
    return list((yield from _Solver(rows, width).solve()))


def _assign_some(costs: Costs, width: int) -> Generator[None, None, list[int | None]]:
    """With forbidden pairs: each row also has a way out of its own that costs more than any assignment."""
    most, least = -inf, inf
    for row in costs:
        finite = [cost for cost in row if cost != inf]
        if finite:
            most, least = max(most, *finite), min(least, *finite)
        yield
    if most == -inf:
        return [None] * len(costs)
    out = (most - least + 1.0) * (len(costs) + 1) + most
    rows = []
    for own, row in enumerate(costs):
        way_out = [inf] * len(costs)
        way_out[own] = out
        rows.append([*row, *way_out])
        yield
    solved = yield from _Solver(rows, width + len(costs)).solve()
    return [column if column < width else None for column in solved]


def total(costs: Costs, columns: Sequence[int | None]) -> float:
    """What an assignment costs; rows without a column cost nothing."""
    return sum(costs[row][column] for row, column in enumerate(columns) if column is not None)


def _shape(costs: Costs) -> tuple[int, int]:
    width = len(costs[0]) if costs else 0
    for at, row in enumerate(costs):
        if len(row) != width:
            raise ValueError(f"row {at} has {len(row)} costs, row 0 has {width}")
        if isnan(sum(row)) or (row and min(row) == -inf):
            raise ValueError(f"row {at} holds a cost that is not a number")
    return len(costs), width


class _Solver:
    """Prices, owners of the columns and columns of the rows, for no more rows than columns."""

    def __init__(self, costs: Costs, width: int) -> None:
        self.costs = costs
        self.price = [0.0] * width
        self.owner = [-1] * width
        self.column = [-1] * len(costs)
        self.order: list[list[int]] = []
        """By row: its columns by cost; at first only the cheap ones, as a sample of the row has them."""
        self.sorted: list[list[float]] = []
        """The costs of `order`."""
        self.is_whole = [False] * len(costs)

    def _begin(self) -> Generator[None, None, None]:
        for row in self.costs:
            sample = sorted(row[:: max(1, len(row) // SAMPLE)])
            most = sample[min(len(sample) - 1, 3)]
            self._keep([at for at, cost in enumerate(row) if cost <= most], row)
            yield

    def _keep(self, columns: list[int], row: Sequence[float]) -> None:
        columns.sort(key=row.__getitem__)
        self.order.append(columns)
        self.sorted.append([row[at] for at in columns])

    def _complete(self, row: int) -> None:
        """The rest of a row's columns turned out to matter."""
        costs = self.costs[row]
        self.order[row] = order = sorted(range(len(costs)), key=costs.__getitem__)
        self.sorted[row] = [costs[at] for at in order]
        self.is_whole[row] = True

    def solve(self) -> Generator[None, None, list[int]]:
        yield from self._begin()
        left = yield from self._reduce(list(range(len(self.costs))))
        for row in (yield from self._reduce(left)):
            yield from self._augment(row)
        return self.column

    def _reduce(self, free: list[int]) -> Generator[None, None, list[int]]:
        """Augmenting row reduction: each free row takes its best column, dearer by what the second best is worse."""
        price, owner, column = self.price, self.owner, self.column
        later: list[int] = []
        budget = 4 * len(self.costs)
        stack = free[::-1]
        while stack:
            row = stack.pop()
            first = second = inf
            best = other = -1
            for cost, at in zip(self.sorted[row], self.order[row], strict=True):
                if cost >= second:
                    break
                worth = cost - price[at]
                if worth < first:
                    first, second, best, other = worth, first, at, best
                elif worth < second:
                    second, other = worth, at
            else:
                if not self.is_whole[row]:
                    self._complete(row)
                    stack.append(row)
                    continue
            budget -= 1
            strictly = first < second
            if strictly and second != inf:
                price[best] -= second - first
            elif owner[best] >= 0 and other >= 0:
                best = other
            previous = owner[best]
            owner[best], column[row] = row, best
            if previous >= 0:
                column[previous] = -1
                if strictly and second != inf and budget > 0:
                    stack.append(previous)
                else:
                    later.append(previous)
            yield
        return later

    def _augment(self, start: int) -> Generator[None, None, None]:
        """Dijkstra over reduced costs from a free row to the nearest free column; then the path is turned over."""
        price, owner, column, costs = self.price, self.owner, self.column, self.costs
        distance: dict[int, float] = {}
        came_from: dict[int, int] = {}
        done: list[tuple[int, float]] = []
        heap: list[tuple[float, int]] = []
        nearest, sink, row, base = inf, -1, start, 0.0
        while True:
            for cost, at in zip(self.sorted[row], self.order[row], strict=True):
                if cost + base >= nearest:
                    break
                way = cost + base - price[at]
                if way < distance.get(at, nearest):
                    came_from[at] = row
                    if owner[at] < 0:
                        nearest, sink = way, at
                    else:
                        distance[at] = way
                        heapq.heappush(heap, (way, at))
            else:
                if not self.is_whole[row]:
                    self._complete(row)
                    continue
            step = _next(heap, distance, nearest)
            if step is None:
                break
            way, at = step
            done.append((at, way))
            distance[at] = -inf  # closed: rounding must not open it again
            row = owner[at]
            base = way - costs[row][at] + price[at]
            yield
        for at, way in done:
            price[at] += way - nearest
        while sink >= 0:
            row = came_from[sink]
            owner[sink] = row
            column[row], sink = sink, column[row]


def _next(heap: list[tuple[float, int]], distance: dict[int, float], nearest: float) -> tuple[float, int] | None:
    while heap:
        way, at = heapq.heappop(heap)
        if way >= nearest:
            return None
        if way == distance[at]:
            return way, at
    return None


# --- the second opinion -----------------------------------------------------------------------------------------------


def auction(costs: Sequence[Sequence[int]]) -> list[int]:
    """The cheapest assignment of a square matrix of whole numbers, by bids and rising prices.

    Each free row bids for its best column as much as makes it indifferent to the second best, plus epsilon. Epsilon
    shrinks to below 1/n, where the assignment is optimal.

    Raises:
        ValueError: Not square, or a cost that is no whole number.
    """
    height, width = _shape(costs)
    if height != width:
        raise ValueError(f"the auction needs as many columns as rows: {height} rows, {width} columns")
    if any(not isinstance(cost, int) for row in costs for cost in row):
        raise ValueError("the auction is exact for whole-numbered costs only")
    worth = [[-cost * (height + 1) for cost in row] for row in costs]  # epsilon of 1 is then below 1/n
    prices = [0] * width
    column = [-1] * height
    for epsilon in _scales(max((abs(one) for row in worth for one in row), default=0)):
        column, owner = [-1] * height, [-1] * width
        free = list(range(height))
        while free:
            row = free.pop()
            net = [value - price for value, price in zip(worth[row], prices, strict=True)]
            best = max(net)
            at = net.index(best)
            net[at] = min(net)
            second = max(net) if width > 1 else best
            prices[at] += best - second + epsilon
            if owner[at] >= 0:
                column[owner[at]] = -1
                free.append(owner[at])
            owner[at], column[row] = row, at
    return column


def _scales(largest: int) -> Iterator[int]:
    epsilon = largest // 2
    while epsilon > 1:
        yield epsilon
        epsilon //= 5
    yield 1
