"""The fluent notation: ``MappingBuilder().incoming("X-Request-ID", "request-id").with_required().build()``."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from formicary.headers.checking import check
from formicary.headers.compiling import compile_mapping, refuse
from formicary.headers.mapping import HeaderMapping
from formicary.headers.model import AUTO, Direction, Generated, Limits, MappingConfig, PathPattern, Route, Rule, Step
from formicary.problems import FieldError


class MappingBuilder:
    """Collects rules; :meth:`build` checks everything at once and returns the compiled mapping.

    The ``with_`` methods change the rule that was added last. Using one before any rule is a mistake that :meth:`build`
    reports.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._config = MappingConfig()
        self._errors: list[FieldError] = []

    def incoming(self, header: str, metadata: str = "") -> Self:
        """Maps a request header to a metadata key (the header's name in lower case when none is given)."""
        return self._add(header, metadata, Direction.INCOMING)

    def outgoing(self, metadata: str, header: str) -> Self:
        """Maps a metadata key of the response to a header."""
        return self._add(header, metadata, Direction.OUTGOING)

    def bidirectional(self, header: str, metadata: str = "") -> Self:
        """Maps a header and a metadata key both ways."""
        return self._add(header, metadata, Direction.BIDIRECTIONAL)

    def with_transform(self, *steps: Step) -> Self:
        """Adds transforms, also by name (``"trim"``, ``("truncate", 9)``), to a rule of one direction.

        A bidirectional rule needs with_incoming and with_outgoing.
        """
        rule = self._last("with_transform")
        if rule is None:
            return self
        if rule.direction is Direction.BIDIRECTIONAL:
            message = f"{rule.header} goes both ways: say with_incoming(...) and with_outgoing(...)."
            self._errors.append(FieldError(self._where("transform"), "CONTRADICTION", message))
            return self
        return self.with_incoming(*steps) if rule.direction.incoming else self.with_outgoing(*steps)

    def with_incoming(self, *steps: Step) -> Self:
        """Adds transforms from header to metadata."""
        rule = self._last("with_incoming")
        return self if rule is None else self._set(replace(rule, incoming=(*rule.incoming, *steps)))

    def with_outgoing(self, *steps: Step) -> Self:
        """Adds transforms from metadata to header."""
        rule = self._last("with_outgoing")
        return self if rule is None else self._set(replace(rule, outgoing=(*rule.outgoing, *steps)))

    def with_required(self, required: bool = True) -> Self:
        """Refuses requests without the header."""
        rule = self._last("with_required")
        return self if rule is None else self._set(replace(rule, required=required))

    def with_default(self, default: str | Generated) -> Self:
        """Gives a default: a text, Generated("uuid"), or ``auto-generated``, which means the same as in files."""
        rule = self._last("with_default")
        if isinstance(default, str) and default.lower() in AUTO:
            default = Generated("uuid")
        return self if rule is None else self._set(replace(rule, default=default))

    def with_overwrite(self, overwrite: bool = True) -> Self:
        """Lets the rule replace values that are there already."""
        rule = self._last("with_overwrite")
        return self if rule is None else self._set(replace(rule, overwrite=overwrite))

    def with_sensitive(self, sensitive: bool = True) -> Self:
        """Masks the values wherever people see them; the service gets them whole."""
        rule = self._last("with_sensitive")
        return self if rule is None else self._set(replace(rule, sensitive=sensitive))

    def with_trusted_only(self, trusted_only: bool = True) -> Self:
        """Takes the header from trusted peers alone."""
        rule = self._last("with_trusted_only")
        return self if rule is None else self._set(replace(rule, trusted_only=trusted_only))

    def preset(self, *names: str) -> Self:
        """Puts presets before the rules."""
        return self._change(presets=(*self._config.presets, *names))

    def skip_paths(self, *paths: PathPattern | str) -> Self:
        """Leaves paths alone; a text with ``*`` is a glob."""
        return self._change(skip_paths=(*self._config.skip_paths, *paths))

    def route(self, *paths: PathPattern | str, mappings: tuple[Rule, ...]) -> Self:
        """Adds rules for some paths."""
        return self._change(routes=(*self._config.routes, Route(paths=paths, mappings=mappings)))

    def allow(self, *headers: str) -> Self:
        """Lets request headers cross unchanged."""
        return self._change(allow=(*self._config.allow, *headers))

    def allow_response(self, *keys: str) -> Self:
        """Lets response metadata cross unchanged."""
        return self._change(allow_response=(*self._config.allow_response, *keys))

    def trusted_peers(self, *networks: str) -> Self:
        """Believes identities from these networks."""
        return self._change(trusted_peers=(*self._config.trusted_peers, *networks))

    def overwrite_existing(self, overwrite: bool = True) -> Self:
        """What rules do that do not say it themselves."""
        return self._change(overwrite=overwrite)

    def grpc_gateway(self, on: bool = True) -> Self:
        """Hands on what grpc-gateway does."""
        return self._change(grpc_gateway=on)

    def timeouts(self, on: bool = True) -> Self:
        """Carries deadlines."""
        return self._change(timeouts=on)

    def rate_limit(self, on: bool = True) -> Self:
        """Makes the IETF RateLimit fields."""
        return self._change(rate_limit=on)

    def non_ascii(self, what: str) -> Self:
        """``reject`` or ``percent``."""
        return self._change(non_ascii=what)

    def limits(self, limits: Limits) -> Self:
        """Sets the bounds."""
        return self._change(limits=limits)

    def debug(self, on: bool = True) -> Self:
        """Logs what crosses, secrets masked."""
        return self._change(debug=on)

    def config(self) -> MappingConfig:
        """Returns what was said so far, unchecked."""
        return replace(self._config, mappings=tuple(self._rules))

    def build(self) -> HeaderMapping:
        """Checks everything and compiles it. Raises Problem with every mistake."""
        config = self.config()
        if self._errors:
            raise refuse([*self._errors, *check(config)])
        return compile_mapping(config)

    def _add(self, header: str, metadata: str, direction: Direction) -> Self:
        self._rules.append(Rule(header=header, metadata=metadata, direction=direction))
        return self

    def _last(self, method: str) -> Rule | None:
        if self._rules:
            return self._rules[-1]
        message = f"{method}() changes the rule before it, and there is none yet."
        self._errors.append(FieldError("mappings", "NO_MAPPING", message))
        return None

    def _set(self, rule: Rule) -> Self:
        self._rules[-1] = rule
        return self

    def _where(self, field: str) -> str:
        return f"mappings[{len(self._rules) - 1}].{field}"

    def _change(self, **changes: object) -> Self:
        self._config = replace(self._config, **changes)  # type: ignore[arg-type]  # each caller passes the field's type
        return self
