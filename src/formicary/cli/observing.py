"""The options of `formicary up` about what is recorded, sent and acted on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import click

_OPTIONS = (
    click.option(
        "--otlp-endpoint",
        default="",
        envvar="OTEL_EXPORTER_OTLP_ENDPOINT",
        metavar="URL",
        help="Send spans and metrics to this OTLP collector (gRPC): http://HOST:4317 (OTEL_EXPORTER_OTLP_ENDPOINT).",
    ),
    click.option(
        "--audit-days",
        type=click.FloatRange(0),
        default=90.0,
        show_default=True,
        metavar="N",
        help="Keep the audit log so long; 0 = for ever.",
    ),
    click.option(
        "--alerts",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="FORMICARY_ALERTS",
        help="File of alert rules (FORMICARY_ALERTS); `formicary alerts check` says what is wrong with one.",
    ),
    click.option(
        "--scaler",
        default="",
        envvar="FORMICARY_SCALER",
        metavar="HOST:PORT",
        help="Let KEDA ask how much work there is (gRPC, its external scaler); nobody is asked for a token there.",
    ),
    click.option(
        "--scaler-tls",
        is_flag=True,
        envvar="FORMICARY_SCALER_TLS",
        help="Encrypt that port with the server's certificate; with --client-ca KEDA has to show one.",
    ),
)


class Observed(TypedDict):
    """What the options say, as the configuration has it."""

    otlp_endpoint: str
    audit_days: float
    alerts: Path | None
    scaler: str
    scaler_tls: bool


def observing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command is given all of them as one argument ``observed``."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        observed = Observed(
            otlp_endpoint=given.pop("otlp_endpoint"),
            audit_days=given.pop("audit_days"),
            alerts=given.pop("alerts"),
            scaler=given.pop("scaler"),
            scaler_tls=given.pop("scaler_tls"),
        )
        return command(**given, observed=observed)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered
