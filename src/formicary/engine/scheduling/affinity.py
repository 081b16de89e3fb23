"""Place: affinity between tasks, as between pods: next to others, or apart from them, within a topology.

A term selects running tasks by their labels and names a label of ants, its topology key: ants of one value are one
domain. Required affinity: only in a domain where a selected task is; the first of a group that selects itself may begin
anywhere. Required anti-affinity: not in a domain where a selected task is, and nothing that a running task's term
selects comes into its domain either. Preferred terms add or take away their weight for each selected task. An ant
without the label is in no domain: affinity keeps off it, anti-affinity does not.

Theory of operation. A demand carries its terms and the labels of its task as a text. The book counts what is granted,
for each selector that somebody asks about, by domain; so a question costs a look at a few counts, however much waits or
runs. Each count has stamps of its changes: who was refused is asked again once one may let him in. After
a restart of the queen tasks are known before their ants say where they are: until then they count for every domain.

Source: Kubernetes, "Assigning Pods to Nodes", inter-pod affinity and anti-affinity, and the scheduler's plugin
`interpodaffinity` (a pod counts for required affinity where it meets all terms; an empty group lets its first in).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from formicary.engine.scheduling.policies.matchmaking import HOST_KEYS, Expression

JOB_LABEL = "job_id"
"""Label that every task has beside `job_type` and `task_type`, and its own."""
JOB_MARK = "\\u0000job"
"""`JOB` as JSON has it."""
JOB = "\0job"
"""Stands in the text of a definition for the id of a job that is not known yet."""
_UNKNOWN = "\0unknown"
"""Domain of what an ant holds that has not said where it is."""
MOST_SELECTORS = 2000
"""Counted at the same time; those that nobody asks about any more go first."""
MOST_TEXTS = 20_000
MOST_RECENT = 1024
"""Changes of a selector that are remembered for preferences."""
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_encode = msgspec.json.Encoder(order="deterministic").encode

NOTHING: Mapping[Any, Any] = {}
Selector = tuple[Expression, ...]
Match = tuple[str, str, tuple[str, ...]]
"""Key, operator and values of an expression."""


class Place(Protocol):
    """What affinity knows of an ant."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Values by name."""
        ...

    @property
    def is_known(self) -> bool:
        """It has said what it is."""
        ...


class Term(msgspec.Struct, frozen=True):
    """Tasks that are looked for, and in what.

    Attributes:
        key: Label of ants; or the ant itself.
        match: Expressions over labels of tasks: key, operator, values.
        weight: Of a preference; below zero to keep away.
    """

    key: str
    match: tuple[Match, ...]
    weight: int = 0


class Affinity(msgspec.Struct, frozen=True):
    """What one task asks for.

    Attributes:
        org: Its organisation: tasks of others are not looked at.
        labels: Of the task.
        near: Required affinity.
        apart: Required anti-affinity.
        preferred: Preferences of both kinds.
    """

    org: str
    labels: Mapping[str, str]
    near: tuple[Term, ...] = ()
    apart: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()


@lru_cache(maxsize=4096)
def read(text: str) -> Affinity:
    """What `affinity_text` wrote."""
    return msgspec.json.decode(text, type=Affinity)


def affinity_text(org: str, labels: Mapping[str, str], affinity: Mapping[str, Any] | None) -> str:
    """The terms of a task and its labels as a text that is equal for equal ones; empty where it has no terms.

    Args:
        org: Its organisation.
        labels: Its labels; that of its job's id may be `JOB`, which `of_job` fills in.
        affinity: In the form of the Kubernetes API.
    """
    if not affinity:
        return ""
    together, away = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    found = Affinity(
        org,
        labels,
        tuple(_term(one, labels) for one in mappings(together, _REQUIRED)),
        tuple(_term(one, labels) for one in mappings(away, _REQUIRED)),
        tuple(
            _term(one.get("podAffinityTerm") or {}, labels, sign * int(one.get("weight", 1)))
            for sign, listed in ((1, together), (-1, away))
            for one in mappings(listed, _PREFERRED)
        ),
    )
    return _text(found) if found.near or found.apart or found.preferred else ""


def mappings(given: object, name: str) -> list[Mapping[str, Any]]:
    """The mappings in a list of that name; none where there is no such list, as in files of before it was checked."""
    listed = given.get(name) if isinstance(given, Mapping) else None
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list | tuple) else []


def labels_text(org: str, labels: Mapping[str, str]) -> str:
    """The same of a task that has no terms, for the terms of others."""
    return _encode(Affinity(org, labels)).decode()


def of_job(text: str, job_id: str) -> str:
    """The text with the id of its job in it, where that matters."""
    return text.replace(JOB_MARK, job_id)


@lru_cache(maxsize=4096)
def before_its_job(text: str) -> str:
    """Without terms about tasks of the job itself: of one that has not begun there are none."""
    found = read(text)

    def others(terms: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(term for term in terms if not any(JOB in values for _, _, values in term.match))

    return _text(Affinity(found.org, found.labels, others(found.near), others(found.apart), others(found.preferred)))


def _text(affinity: Affinity) -> str:
    """Labels of the job's id are left out where no term is about it: else each job had a text of its own."""
    labels = dict(affinity.labels)
    terms = (*affinity.near, *affinity.apart, *affinity.preferred)
    about_jobs = any(key == JOB_LABEL for term in terms for key, _, _ in term.match)
    if labels.get(JOB_LABEL) == JOB and not about_jobs:
        del labels[JOB_LABEL]
    return _encode(msgspec.structs.replace(affinity, labels=labels)).decode()


def _term(given: Mapping[str, Any], labels: Mapping[str, str], weight: int = 0) -> Term:
    selector = given.get("labelSelector") or {}
    match: list[Match] = [(str(key), "In", (str(value),)) for key, value in (selector.get("matchLabels") or {}).items()]
    for one in mappings(selector, "matchExpressions"):
        match.append((str(one.get("key")), str(one.get("operator")), tuple(map(str, one.get("values") or ()))))
    for name, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        match += [(str(key), operator, (labels[key],)) for key in given.get(name) or () if key in labels]
    return Term(str(given.get("topologyKey")), tuple(sorted(match)), weight)


@lru_cache(maxsize=4096)
def selector_of(match: tuple[Match, ...]) -> Selector:
    """The expressions of a term."""
    return tuple(Expression(key, operator, values) for key, operator, values in match)


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a task of these labels is looked for."""
    return all(one.holds(labels) for one in selector)


def domain(place: Place, key: str) -> str | None:
    """The value that an ant has for a topology key; None = it is in no domain of it."""
    value = place.labels.get(key)
    if value is None and key in HOST_KEYS:
        return place.id if key != "kubernetes.io/hostname" or place.is_known else _UNKNOWN
    return value if value is not None or place.is_known else _UNKNOWN


def missing_keys(text: str, place: Place) -> list[str]:
    """Topology keys of required affinity that an ant has no label for: it never suits."""
    return [term.key for term in read(text).near if domain(place, term.key) is None]


@dataclass(slots=True, eq=False)
class _Count:
    """Granted tasks of one selector, or holders of one term, by topology key and domain."""

    stamp: int = 0
    """When it last changed, by the book's own clock."""
    fell: int = 0
    """When it last became less."""
    total: int = 0
    is_near: bool = False
    """Somebody wants to be near to them."""
    recent: deque[tuple[int, str, str]] | None = None
    """The last changes: when, topology key, domain; None = nobody prefers to be near to them, or away."""
    by_key: dict[str, dict[str, int]] = field(default_factory=dict)
    expected: dict[str, dict[str, int]] = field(default_factory=dict)
    """The same of those for which room is kept."""

    def add(self, place: Place, sign: int, stamp: int, *, is_expected: bool = False) -> None:
        """One more, or one less, on an ant; `is_expected`: room for one."""
        if sign < 0:
            self.fell = stamp
        if not is_expected:
            self.stamp = stamp
            self.total += sign
        for key in self.by_key:
            self.add_to(key, place, sign, is_expected=is_expected)

    def add_to(self, key: str, place: Place, sign: int, *, is_expected: bool = False) -> None:
        """The same for one topology key."""
        where = domain(place, key)
        if where is None:
            return
        counts = self.expected.setdefault(key, {}) if is_expected else self.by_key[key]
        counts[where] = counts.get(where, 0) + sign
        if not counts[where]:
            del counts[where]
        if self.recent is not None and not is_expected:
            self.recent.append((self.stamp, key, where))

    def certainly(self, key: str, where: str | None) -> int:
        """How many are in a domain."""
        return self.by_key[key].get(where, 0) if where is not None else 0

    def perhaps(self, key: str, where: str | None) -> int:
        """How many are there, or may be."""
        if where is None:
            return 0
        counts = self.by_key[key]
        found = counts.get(where, 0) + counts.get(_UNKNOWN, 0)
        return found + self.expected.get(key, NOTHING).get(where, 0) if self.expected else found


@dataclass(slots=True)
class _Asked:
    """A text with its counts at hand."""

    affinity: Affinity
    since: int
    near: _Count | None
    is_first: bool
    """It selects itself: of an empty group it may begin anywhere."""
    apart: tuple[tuple[_Count, str], ...]
    preferred: tuple[tuple[_Count, str, int], ...]
    preferred_keys: tuple[str, ...]
    repelled: tuple[tuple[_Count, str], ...] = ()
    """Terms of others that select it."""
    known_terms: int = -1
    """State of the terms of others that these were found in."""

    @property
    def counts(self) -> list[_Count]:
        """All that matter to it."""
        found = [count for count, _ in (*self.apart, *self.repelled)] + [count for count, _, _ in self.preferred]
        return found if self.near is None else [*found, self.near]


class Held(msgspec.Struct, frozen=True):
    """A granted attempt: whose, with which labels and terms, where."""

    token: int
    org: str
    labels: Mapping[str, str]
    affinity: str
    place: Any


Find = Callable[[str, str], Iterable[Held]]
"""All that is granted of an organisation and, where that is named, a job."""
Home = tuple[str, str]
"""Organisation, and the job that a selector is about; empty where it is about no single one."""


class Neighbours:
    """Who is where, of one colony.

    Args:
        find: Says what is granted now; asked for each selector that nobody has asked about before.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._counts: dict[Home, dict[Selector, _Count]] = {}
        self._repelling: dict[Home, dict[tuple[Selector, str], _Count]] = {}
        """Selector and topology key of required anti-affinity, with those that hold it."""
        self._held: dict[int, tuple[Any, list[_Count], bool]] = {}
        self._expected: dict[int, Held] = {}
        """Those for which room is kept."""
        self._asked: dict[str, _Asked] = {}
        self._selected: dict[tuple[str, tuple[tuple[str, str], ...]], bool] = {}
        self._limit = MOST_SELECTORS
        self._made = 0
        """How many of both there are."""
        self.clock = self._terms = 0
        """The first grows with each change."""
        self.opened = 0
        """Grows where something was granted that others want to be near to."""
        self.news: list[tuple[str, Selector]] = []
        """Organisation and selector of required anti-affinity that nobody had before: it may select what waits."""

    # --- what is granted --------------------------------------------------------------------------------------------

    @property
    def is_used(self) -> bool:
        """Whether it has to be told of grants: somebody asks, or has had terms."""
        return bool(self._counts or self._repelling)

    def take(self, held: Held, *, is_expected: bool = False) -> None:
        """An attempt is granted; or it is expected, and nobody may come who would keep it off."""
        if is_expected:
            self._expected[held.token] = held
        counts = [
            count
            for home in _homes(held.org, held.labels)
            for selector, count in self._counts.get(home, NOTHING).items()
            if selects(selector, held.labels)
        ]
        for term in read(held.affinity).apart if held.affinity else ():
            counts.append(self._holders(held.org, selector_of(term.match), term.key))
        if counts:
            self._held[held.token] = (held.place, counts, is_expected)
            self.opened += not is_expected and any(count.is_near for count in counts)
            self._add(held.place, counts, +1, is_expected=is_expected)

    def leave(self, token: int) -> None:
        """It is over."""
        self._expected.pop(token, None)
        found = self._held.pop(token, None)
        if found is not None:
            self._add(*found[:2], -1, is_expected=found[2])

    def move(self, tokens: Iterable[int], change: Callable[[], None]) -> None:
        """The ant that holds these says anew where it is; `change` takes that over."""
        found = [one for token in tokens if (one := self._held.get(token)) is not None]
        for place, counts, is_expected in found:
            self._add(place, counts, -1, is_expected=is_expected)
        change()
        for place, counts, is_expected in found:
            self._add(place, counts, +1, is_expected=is_expected)

    def _add(self, place: Place, counts: Iterable[_Count], sign: int, *, is_expected: bool) -> None:
        self.clock += 1
        for count in counts:
            count.add(place, sign, self.clock, is_expected=is_expected)

    def _holders(self, org: str, selector: Selector, key: str) -> _Count:
        home = (org, _job_of(selector))
        terms = self._repelling.setdefault(home, {})
        found = terms.get((selector, key))
        if found is None:
            found = terms[selector, key] = _Count(by_key={key: {}})
            self._made += 1
            self._terms += 1
            if not home[1]:
                self._selected.clear()
                self.news.append((org, selector))
        return found

    # --- who may go where -------------------------------------------------------------------------------------------

    def admits(self, text: str, place: Place) -> bool:
        """Whether the task of this text may begin on an ant now."""
        asked = self._of(text)
        for count, key in (*asked.apart, *asked.repelled):
            if count.perhaps(key, domain(place, key)):
                return False
        near = asked.near
        if near is None:
            return True
        domains = [(term.key, domain(place, term.key)) for term in asked.affinity.near]
        if not near.total and asked.is_first:
            return all(where is not None for _, where in domains)
        return all(near.certainly(key, where) for key, where in domains)

    def is_hopeless(self, text: str) -> bool:
        """Whether no ant at all admits it: what it has to be near to runs nowhere."""
        asked = self._of(text)
        return asked.near is not None and not (asked.near.total or asked.is_first)

    def score(self, text: str, place: Place) -> int:
        """Weights of its preferences on an ant, once for each task that they select."""
        return self.worth(text, [domain(place, key) for key in self.preferred_keys(text)])

    def preferred_keys(self, text: str) -> tuple[str, ...]:
        """The topology key of each of its preferences."""
        return self._of(text).preferred_keys

    def occupied(self, text: str, term: int) -> Mapping[str, int]:
        """The domains in which tasks are that a preference selects, by its number."""
        count, key, _ = self._of(text).preferred[term]
        return count.by_key[key]

    def worth(self, text: str, domains: Sequence[str | None]) -> int:
        """The score of ants that are in these domains of its preferences."""
        found = 0
        for (count, key, weight), where in zip(self._of(text).preferred, domains, strict=True):
            found += weight * count.certainly(key, where)
        return found

    def changed(self, text: str, since: int) -> list[tuple[int, str]] | None:
        """In which domains, by number of the preference, the score may be another than at `clock` = since.

        None where that is not known any more.
        """
        found: list[tuple[int, str]] = []
        for term, (count, key, _) in enumerate(self._of(text).preferred):
            recent = count.recent
            if count.stamp <= since:
                continue
            if recent is None or (len(recent) == recent.maxlen and recent[0][0] > since):
                return None
            for at, one, where in reversed(recent):
                if at <= since:
                    break
                if one == key:
                    found.append((term, where))
        return found

    def stamp(self, text: str) -> int:
        """Grows when an ant may be admitted that was not; not when one is not any more, or has another score."""
        asked = self._of(text)
        found = asked.since if asked.near is None else max(asked.since, asked.near.stamp)
        for count, _ in (*asked.apart, *asked.repelled):
            found = max(found, count.fell)
        return found

    def refusal(self, text: str, place: Place) -> str | None:
        """Why the task may not begin on an ant now, in words; None where it may."""
        asked = self._of(text)
        for term, (count, key) in zip(asked.affinity.apart, asked.apart, strict=True):
            if found := count.perhaps(key, domain(place, key)):
                return f"podAntiAffinity: {_tasks(found)} with {_words(term)} in {_where(place, key)}"
        for count, key in asked.repelled:
            if count.perhaps(key, domain(place, key)):
                return f"the podAntiAffinity of a task in {_where(place, key)} keeps it away"
        if asked.near is not None and not self.admits(text, place):
            terms = ", ".join(f"{_words(term)} in {_where(place, term.key)}" for term in asked.affinity.near)
            return f"podAffinity: no task with {terms}"
        return None

    def _of(self, text: str) -> _Asked:
        found = self._asked.get(text)
        if found is None:
            found = self._asked[text] = self._look_up(text)
        if found.known_terms != self._terms:
            affinity = found.affinity
            others = [self._repelling.get(home, NOTHING) for home in _homes(affinity.org, affinity.labels)]
            found.known_terms = self._terms  # a term more lets nobody in: the stamp stays as it is
            found.repelled = tuple(
                (count, key)
                for terms in others
                for (selector, key), count in terms.items()
                if selects(selector, affinity.labels)
            )
        return found

    def _look_up(self, text: str) -> _Asked:
        if len(self._asked) > MOST_TEXTS:
            self._asked.clear()
        affinity = read(text)
        org, near = affinity.org, None
        whole = selector_of(tuple(part for term in affinity.near for part in term.match))
        for term in affinity.near:
            near = self._count(org, whole, term.key)
            near.is_near = True
        self.clock += 1
        return _Asked(
            affinity,
            self.clock,
            near,
            near is not None and selects(whole, affinity.labels),
            tuple((self._count(org, selector_of(term.match), term.key), term.key) for term in affinity.apart),
            tuple(
                (self._count(org, selector_of(term.match), term.key, is_preferred=True), term.key, term.weight)
                for term in affinity.preferred
            ),
            tuple(term.key for term in affinity.preferred),
        )

    def _count(self, org: str, selector: Selector, key: str, *, is_preferred: bool = False) -> _Count:
        """The count of a selector, made of what is granted where it is asked for the first time."""
        home = (org, _job_of(selector))
        counts = self._counts.setdefault(home, {})
        found = counts.get(selector)
        count = counts[selector] = found or _Count()
        if is_preferred and count.recent is None:
            count.recent = deque(maxlen=MOST_RECENT)
        if key in count.by_key:
            return count
        count.by_key[key] = {}
        self._made += found is None
        expected = [held for held in self._expected.values() if home in _homes(held.org, held.labels)]
        for held in (*self._find(*home), *expected):
            if selects(selector, held.labels):
                is_expected = held.token in self._expected
                count.add_to(key, held.place, +1, is_expected=is_expected)
                if found is None:
                    count.total += not is_expected
                    self._held.setdefault(held.token, (held.place, [], is_expected))[1].append(count)
        return count

    # --- what others' terms select ----------------------------------------------------------------------------------

    def repels(self, org: str, labels: Mapping[str, str]) -> bool:
        """Whether required anti-affinity of some task, about no single job, selects these labels."""
        terms = self._repelling.get((org, ""))
        if not terms:
            return False
        key = (org, tuple(sorted(labels.items())))
        found = self._selected.get(key)
        if found is None:
            if len(self._selected) > MOST_TEXTS:
                self._selected.clear()
            found = self._selected[key] = any(selects(selector, labels) for selector, _ in terms)
        return found

    def prune(self, wanted: Callable[[], Iterable[str]]) -> None:
        """Forgets selectors and terms that nobody asks about and nobody holds, once there are very many.

        Args:
            wanted: Says the texts of all that waits.
        """
        if self._made <= self._limit:
            return
        kept = {id(count) for text in wanted() if text for count in self._of(text).counts}
        self._asked.clear()
        self._selected.clear()
        for terms in self._repelling.values():
            for term in [term for term, count in terms.items() if not count.total]:
                del terms[term]
        for counts in self._counts.values():
            for selector in [selector for selector, count in counts.items() if id(count) not in kept]:
                del counts[selector]
        self._repelling = {home: terms for home, terms in self._repelling.items() if terms}
        self._counts = {home: counts for home, counts in self._counts.items() if counts}
        alive = {id(count) for counts in self._counts.values() for count in counts.values()}
        alive |= {id(count) for terms in self._repelling.values() for count in terms.values()}
        for token, (_, own, _) in list(self._held.items()):
            own[:] = [count for count in own if id(count) in alive]
            if not own:
                del self._held[token]
        self._made = sum(map(len, self._counts.values())) + sum(map(len, self._repelling.values()))
        self._limit = max(MOST_SELECTORS, 2 * self._made)


def _homes(org: str, labels: Mapping[str, str]) -> tuple[Home, ...]:
    job = labels.get(JOB_LABEL, "")
    return ((org, ""), (org, job)) if job else ((org, ""),)


def _job_of(selector: Selector) -> str:
    """The job that it is about alone."""
    return next((one.values[0] for one in selector if _is_one_job(one)), "")


def _is_one_job(one: Expression) -> bool:
    return one.key == JOB_LABEL and one.operator == "In" and len(one.values) == 1


def _tasks(count: int) -> str:
    return "a task" if count == 1 else f"{count} tasks"


def _words(term: Term) -> str:
    return " and ".join(map(str, selector_of(term.match))) or "any labels"


def _where(place: Place, key: str) -> str:
    where = domain(place, key)
    return f"no {key}" if where is None else f"{key} {'not known yet' if where == _UNKNOWN else where}"
