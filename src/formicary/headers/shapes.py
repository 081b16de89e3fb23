"""The quick way for calls that look alike: what the rules do with a sequence of names is worked out once.

A *shape* is the names of one call, in order. Which rule takes which value, what wins, which defaults fill in and what
is counted depends on the names alone, as long as every value is one plain text: printable ASCII, not empty, without
blanks around it, within the bounds. Then a call costs the values only. They are joined into one text, and that text is
checked once; :data:`SEPARATOR` inside a value shows, because the text then falls into too many parts.

Whatever is not plain goes the slow way (:mod:`formicary.headers.carrying`), which decides everything; a transform that
has run already is not run again there. Shapes are kept for names that were seen more than once, a bounded number of
them, so that a caller who makes names up gains nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, TypeVar

from formicary.headers import statistics as count
from formicary.headers.carrying import Carrier, Done, Found, Rules, Value, clean, too_long
from formicary.headers.defaults import Maker, trace_id
from formicary.headers.statistics import Statistics, Tally
from formicary.headers.transforms import Rejected

SEPARATOR = "`"
_WIRE_SEPARATOR = SEPARATOR.encode()
MOST_SHAPES = 512
"""Of one mapping, over all its routes."""
MOST_NAMES = 64
MOST_NAME_BYTES = 4_096
MOST_SEEN = 1_024
BUILD_AT = 3
"""A shape is worked out when its names come for this time."""
MOST_BUILT = 64
REST_CALLS = 4_096
"""After so many shapes, and after MOST_SEEN names that hardly came again, nothing is learned for so many strange calls:
to work shapes out costs more than a call, and callers who make names up shall not make the others pay."""
GENERATED_BYTES = 128
"""No generated default is longer."""
_NO_INDEX: Found = {}

Pick = Callable[[Sequence[Value]], tuple[Value, ...]]
Step = tuple[int, Callable[[str], str]]
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rules of one way do with a sequence of names.

    Attributes:
        pick: Takes the values that rules want out of all values: those that arrive first, in their order.
        count: How many ``pick`` takes.
        targets: Names at the far side; as many as arrive.
        steps: Transforms: place among the picked, and function; in the order of the rules.
        slots: The rules of the steps, by their slots.
        room: Longest joined text for which no bound can be broken.
        measured: Whether the sizes must be looked at afterwards all the same; repeated ids are not thought of here.
        constants: Defaults, where none is made for the call.
        absent: Rules whose default fills in, where one is made for the call.
        makers: Their names at the far side, constants and makers, where no maker looks at the trace; else empty.
        trace_at: Where the traceparent is among all values.
        tally: Counts these calls.
        hit: The tally's.
    """

    pick: Pick
    count: int
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    slots: tuple[int, ...]
    room: int
    measured: bool
    constants: tuple[tuple[str, str], ...]
    absent: tuple[Carrier, ...]
    makers: tuple[tuple[str, str, Maker | None], ...]
    trace_at: int | None
    tally: Tally
    hit: Callable[[], int]

    def texts(self, values: Sequence[Value]) -> list[str] | None:
        """The picked values of metadata or text headers; None when one is not plain."""
        if not self.count:
            return []
        try:
            text = SEPARATOR.join(self.pick(values))  # type: ignore[arg-type]  # bytes raise TypeError
        except TypeError:
            return None
        if len(text) > self.room or not text.isascii() or not text.isprintable() or (" " in text and _has_edges(text)):
            return None
        parts = text.split(SEPARATOR)
        return None if len(parts) != self.count or "" in parts else parts

    def wire_texts(self, values: Sequence[bytes]) -> list[str] | None:
        """The picked values of headers as ASGI has them; None when one is not plain."""
        if not self.count:
            return []
        try:
            text = _WIRE_SEPARATOR.join(self.pick(values)).decode("ascii")  # type: ignore[arg-type]  # all are bytes
        except UnicodeDecodeError:
            return None
        if len(text) > self.room or not text.isprintable() or (" " in text and _has_edges(text)):
            return None
        parts = text.split(SEPARATOR)
        return None if len(parts) != self.count or "" in parts else parts

    def arrivals(self, parts: list[str]) -> Iterable[tuple[str, str]]:
        """Those of the picked values that arrive, by name at the far side."""
        return zip(self.targets, parts, strict=False)

    def transform(self, parts: list[str]) -> Done | None:
        """Runs the transforms in place.

        Returns:
            None when all is well; else what came out so far, by rule, for the slow way to go on with.
        """
        place = -1
        refused: Rejected | None = None
        try:
            for place, each in self.steps:
                parts[place] = text = each(parts[place])
                if not text:
                    break
            else:
                return None
        except Rejected as refusal:
            refused = refusal
        done: dict[int, str | Rejected] = {}
        for (at, _), slot in zip(self.steps, self.slots, strict=True):
            if at == place:
                done[slot] = parts[at] if refused is None else refused
                break
            done[slot] = parts[at]
        return done

    def defaults(
        self, values: Sequence[Value], echo: Iterable[tuple[str, Value]] | None = None
    ) -> Sequence[tuple[str, str]]:
        """The defaults of this call, by name at the far side.

        Args:
            values: All values of the call.
            echo: Metadata of the request, whose generated ids a response repeats.
        """
        if not self.absent:
            return self.constants
        if echo is None and self.makers:
            return [(name, text if maker is None else maker(_NO_INDEX)) for name, text, maker in self.makers]
        index: Found = {}
        if self.trace_at is not None:
            trace = values[self.trace_at]
            index["traceparent"] = [trace.decode("latin-1") if isinstance(trace, bytes) else trace]
        found = []
        for carrier in self.absent:
            value = carrier.constant
            if carrier.maker is not None:
                value = None if echo is None or carrier.sensitive else _first(echo, carrier.key)
                value = carrier.maker(index) if value is None else value
            assert value is not None, "a rule without a default is not among the absent"
            if carrier.key == "traceparent":
                index["traceparent"] = [value]
            found.append((carrier.target, value))
        return found


def _has_edges(text: str) -> bool:
    """Whether a blank is at an end of a value in a joined text."""
    return " `" in text or "` " in text or text[0] == " " or text[-1] == " "


def _first(pairs: Iterable[tuple[str, Value]], key: str) -> str | None:
    for name, value in pairs:
        if name == key or name.lower() == key:
            return value if isinstance(value, str) else None
    return None


def build(
    carriers: Iterable[Carrier], names: Sequence[str], rules: Rules, statistics: Statistics, *, trusted: bool
) -> Shape | None:
    """Works out what rules do with these names.

    Args:
        carriers: The rules of a way, in order.
        names: Names at the near side in lower case, in order.
        rules: What holds for every value.
        statistics: Where the calls are counted.
        trusted: Whether the sender is believed.

    Returns:
        The shape; None when calls with these names need the slow way: values that are repeated or bytes, transforms
        that look at all values, required headers that are missing.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    taken: list[tuple[Carrier, int]] = []
    winners: dict[str, int] = {}
    events: list[int] = []
    absent: list[Carrier] = []
    for carrier in carriers:
        found = places.get(carrier.source)
        if found is None:
            absent.append(carrier)
        elif carrier.trusted_only and not trusted:
            events.append(carrier.slot + count.UNTRUSTED)
            absent.append(carrier)
        elif not carrier.simple or len(found) != 1:
            return None
        else:
            wins = carrier.overwrite or carrier.target not in winners
            events.append(carrier.slot + (count.MAPPED if wins else count.KEPT))
            if wins:
                winners[carrier.target] = len(taken)
            taken.append((carrier, found[0]))
    filling: dict[str, Carrier] = {}
    for carrier in absent:
        if carrier.target in winners or carrier.target in filling:
            continue
        if carrier.constant is not None or carrier.maker is not None:
            filling[carrier.target] = carrier
            events.append(carrier.slot + count.DEFAULTED)
        elif carrier.required:
            return None
    trace = places.get("traceparent")
    shape = _laid_out(
        taken, winners, list(filling.values()), rules, statistics.tally(events), trace[0] if trace else None
    )
    return shape if shape.room >= 0 else None


def _laid_out(
    taken: list[tuple[Carrier, int]],
    winners: Mapping[str, int],
    filling: list[Carrier],
    rules: Rules,
    tally: Tally,
    trace_at: int | None,
) -> Shape:
    arriving = list(winners.values())
    order = arriving + [n for n in range(len(taken)) if n not in winners.values()]
    place_of = {n: place for place, n in enumerate(order)}
    steps: list[Step] = []
    slots: list[int] = []
    growth, unknown = 0, False
    for n, (carrier, _) in enumerate(taken):
        if carrier.each is not None:
            steps.append((place_of[n], _step(carrier, rules)))
            slots.append(carrier.slot)
            growth += carrier.growth or 0
            unknown = unknown or carrier.growth is None
    made = any(carrier.maker is not None for carrier in filling)
    constants = tuple((carrier.target, carrier.constant) for carrier in filling if carrier.constant is not None)
    size = sum(len(name) for name in winners) + sum(len(name) + len(value) for name, value in constants)
    size += sum(len(c.target) + GENERATED_BYTES for c in filling if c.maker is not None)
    blind = made and all(carrier.maker is not trace_id for carrier in filling)
    return Shape(
        pick=_picker([taken[n][1] for n in order]),
        count=len(order),
        targets=tuple(winners),
        steps=tuple(steps),
        slots=tuple(slots),
        room=min(rules.max_value_bytes, rules.max_total_bytes - size) - growth,
        measured=unknown,
        constants=() if made else constants,
        absent=tuple(filling) if made else (),
        makers=tuple((c.target, c.constant or "", c.maker) for c in filling) if blind else (),
        trace_at=trace_at,
        tally=tally,
        hit=tally.hit,
    )


def _picker(places: Sequence[int]) -> Pick:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def _step(carrier: Carrier, rules: Rules) -> Callable[[str], str]:
    """The transforms of a rule for one plain text; what comes out is as the slow way makes it."""
    each = carrier.each
    assert each is not None, "a rule without transforms has no step"
    if carrier.growth is not None:
        return each if carrier.plain else lambda text: each(text).strip()

    def run(text: str) -> str:
        text = clean(each(text), rules)
        if len(text) > rules.max_value_bytes:
            raise Rejected(too_long(text, rules))
        return text

    return run


class Budget:
    """How many shapes a mapping may keep, over all its routes."""

    def __init__(self, left: int = MOST_SHAPES) -> None:
        self.left = left
        self.lock = threading.Lock()


class Shapes(Generic[K, T]):
    """The shapes that were met, the newest of them.

    Args:
        make: Works out what belongs to a key; None when calls with it need the slow way.
        retire: Is told what is forgotten.
        budget: What all caches of the mapping share.

    Attributes:
        resting: For how many more strange calls nothing is learned.
    """

    __slots__ = ("_budget", "_built", "_known", "_make", "_retire", "_seen", "resting")

    def __init__(self, make: Callable[[K], T | None], retire: Callable[[T], None], budget: Budget) -> None:
        self._make = make
        self._retire = retire
        self._budget = budget
        self._known: dict[K, T | None] = {}
        self._seen: dict[int, int] = {}
        self._built = 0
        self.resting = 0

    def find(self, key: K) -> T | None:
        """Returns what belongs to a key; None means the slow way."""
        found = self._known.get(key)
        if found is not None:
            return found
        if self.resting:
            self.resting -= 1
            return None
        return self._meet(key)

    def _meet(self, key: K) -> T | None:
        if key in self._known:
            return None
        seen, mark = self._seen, hash(key)
        times = seen.get(mark, 0) + 1
        if times < BUILD_AT:
            if len(seen) >= MOST_SEEN:
                # So many names that hardly come again: learning them costs more than it gives.
                seen.clear()
                self._rest()
            seen[mark] = times
            return None
        if not _is_small(key):
            return None
        with self._budget.lock:
            seen.pop(mark, None)
            if key in self._known:
                return self._known[key]
            self._built += 1
            if self._built >= MOST_BUILT:
                self._rest()
            if not self._has_room():
                return None
            made = self._known[key] = self._make(key)
            return made

    def _rest(self) -> None:
        self._built = 0
        self.resting = REST_CALLS

    def _has_room(self) -> bool:
        if self._budget.left > 0:
            self._budget.left -= 1
            return True
        if not self._known:
            return False
        old = self._known.pop(next(iter(self._known)))
        if old is not None:
            self._retire(old)
        return True


def _is_small(key: object) -> bool:
    """Whether a key, a tuple of names or of such tuples, is small enough to be kept."""
    names: list[object] = []
    for part in key if isinstance(key, tuple) else ():
        names.extend(part if isinstance(part, tuple) else (part,))
    return len(names) <= MOST_NAMES and sum(len(n) for n in names if isinstance(n, str | bytes)) <= MOST_NAME_BYTES
