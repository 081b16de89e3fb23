"""The queen's error codes: rules that name failed attempts and say what follows, managed as data.

Theory of operation. All rules are in memory, sorted by rank, one list per organisation that holds those of the system
too. Changes go to the store first and then into memory, one at a time; the next failed attempt meets the new rule.
Patterns are those of RE2: matching takes time in proportion to the text, whatever the pattern, so that a rule cannot
stop the queen.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from typing import Any

from formicary.engine.jobs.error_rules import ERROR_ACTIONS, RETRY_JOB, RETRY_TASK, ErrorRule, Failure
from formicary.engine.queen.pump import unavailable
from formicary.engine.storage.port import Store, StoreError
from formicary.problems import FieldError, problem

MAX_RULES = 1000
"""Of one organisation; each failed attempt is compared with all of them."""
MAX_PATTERN = 500
MAX_MESSAGE = 500
MAX_RETRY = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CODE = re.compile(r"ERR_[A-Z0-9_]{1,96}")
_MEMORY_BYTES = 1 << 20
Key = tuple[str, str]


class ErrorCodes:
    """The rules of one queen.

    Args:
        store: Where they are kept.
        wall: Seconds since the epoch.
    """

    def __init__(self, store: Store, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._wall = wall
        self._changing = asyncio.Lock()
        self._rules: dict[Key, ErrorRule] = {}
        self._patterns: dict[str, Any] = {}
        self._ranked: dict[str, list[ErrorRule]] = {}

    async def load(self) -> None:
        """Reads what the store has. Raises StoreError."""
        for row in await asyncio.to_thread(self._store.error_codes):
            self._keep(ErrorRule(*row))  # type: ignore[arg-type]  # types by COLUMN_TYPES

    # --- what jobs meet ---------------------------------------------------------------------------------------------

    def find(self, failure: Failure) -> ErrorRule | None:
        """The rule that counts for a failed attempt, None where none matches."""
        if not self._rules:
            return None
        ranked = self._ranked.get(failure.org)
        if ranked is None:
            found = [rule for rule in self._rules.values() if rule.org in ("", failure.org)]
            ranked = self._ranked[failure.org] = sorted(found, key=lambda rule: rule.rank)
        return next((rule for rule in ranked if self._matches(rule, failure)), None)

    def _matches(self, rule: ErrorRule, failure: Failure) -> bool:
        if rule.exit_code is not None and rule.exit_code != failure.exit_code:
            return False
        scope = ((rule.job_type, failure.job_type), (rule.task_type, failure.task_type))
        if not all(wanted in ("", found) for wanted, found in (*scope, (rule.platform, failure.platform))):
            return False
        return not rule.pattern or self._patterns[rule.pattern].search(failure.text) is not None

    # --- what people do ---------------------------------------------------------------------------------------------

    def of(self, org: str) -> list[ErrorRule]:
        """The rules that an organisation's jobs meet, those of the system last, by name."""
        found = [rule for rule in self._rules.values() if rule.org in ("", org)]
        return sorted(found, key=lambda rule: (not rule.org, rule.name))

    def get(self, org: str, name: str) -> ErrorRule:
        """One of them. Raises Problem NOT_FOUND."""
        found = self._rules.get((org, name))
        if found is None:
            whose = "" if org else " of the system"
            text = (
                f"There is no error code rule {name[:60]!r}{whose}; `formicary error-codes list` shows those that are."
            )
            raise problem("NOT_FOUND", text)
        return found

    async def put(self, rule: ErrorRule) -> ErrorRule:
        """Stores a rule, instead of the one of its name.

        Raises:
            Problem: VALIDATION_FAILED naming all that is wrong; FAILED_PRECONDITION where there are too many;
                UNAVAILABLE.
        """
        errors = list(_violations(rule))
        pattern, wrong = compiled(rule.pattern) if rule.pattern else (None, "")
        if wrong:
            errors.append(FieldError("pattern", "INVALID_FORMAT", wrong))
        if errors:
            raise problem("VALIDATION_FAILED", " ".join(one.message for one in errors), errors=errors)
        async with self._changing:
            earlier, now = self._rules.get((rule.org, rule.name)), self._wall()
            if earlier is None and sum(one.org == rule.org for one in self._rules.values()) >= MAX_RULES:
                raise problem("FAILED_PRECONDITION", f"There are {MAX_RULES:,} rules: remove some first.")
            created = earlier.created_at if earlier is not None else now
            rule = replace(rule, created_at=created, updated_at=now)
            try:
                await asyncio.to_thread(self._store.put_error_code, astuple(rule))
            except StoreError as error:
                raise unavailable(error) from error
            if pattern is not None:
                self._patterns[rule.pattern] = pattern
            self._keep(rule)
        return rule

    async def remove(self, org: str, name: str) -> ErrorRule:
        """Removes a rule and returns it. Raises Problem NOT_FOUND, UNAVAILABLE."""
        async with self._changing:
            found = self.get(org, name)
            try:
                await asyncio.to_thread(self._store.remove_error_code, org, name)
            except StoreError as error:
                raise unavailable(error) from error
            del self._rules[org, name]
            self._ranked.clear()
        return found

    def _keep(self, rule: ErrorRule) -> None:
        if rule.pattern and rule.pattern not in self._patterns:
            self._patterns[rule.pattern] = compiled(rule.pattern)[0]
        self._rules[rule.org, rule.name] = rule
        self._ranked.clear()


def compiled(pattern: str) -> tuple[Any, str]:
    """A pattern that can be searched for, or None and what is wrong with it."""
    import re2  # only where there is a pattern: most colonies have none

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(pattern, options=options), ""
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        return None, f"The pattern is no regular expression of RE2: {why}."


def _violations(rule: ErrorRule) -> Iterator[FieldError]:
    if not _NAME.fullmatch(rule.name):
        yield FieldError("name", "INVALID_FORMAT", "A name has at most 100 letters, digits, '_', '.' and '-'.")
    if not _CODE.fullmatch(rule.code):
        yield FieldError("code", "INVALID_FORMAT", "A code is ERR_ and capital letters, digits and '_', at most 100.")
    for name in ("job_type", "task_type", "platform"):
        value = getattr(rule, name)
        if len(value) > 100 or not (value.isprintable() or not value):
            yield FieldError(name, "INVALID_FORMAT", f"{name} has at most 100 printable characters.")
    if rule.exit_code is None and not rule.pattern:
        yield FieldError("exit_code", "REQUIRED_FIELD", "Give exit_code, pattern or both: else every failure matches.")
    if rule.exit_code is not None and not -(2**31) <= rule.exit_code < 2**31:
        yield FieldError("exit_code", "OUT_OF_RANGE", "An exit code is a number of 32 bits.")
    if len(rule.pattern) > MAX_PATTERN:
        yield FieldError("pattern", "OUT_OF_RANGE", f"A pattern has at most {MAX_PATTERN} characters.")
    if len(rule.message) > MAX_MESSAGE or not (rule.message.isprintable() or not rule.message):
        yield FieldError("message", "OUT_OF_RANGE", f"A message has at most {MAX_MESSAGE} printable characters.")
    if rule.action not in ERROR_ACTIONS:
        yield FieldError("action", "UNKNOWN_VALUE", f"The action is one of {', '.join(ERROR_ACTIONS[1:])}, or none.")
    elif rule.action in (RETRY_TASK, RETRY_JOB):
        if not 1 <= rule.retry <= MAX_RETRY:
            yield FieldError("retry", "OUT_OF_RANGE", f"{rule.action} needs retry, from 1 to {MAX_RETRY}.")
    elif rule.retry:
        yield FieldError("retry", "CONFLICT", "retry is for RETRY_TASK and RETRY_JOB only.")
