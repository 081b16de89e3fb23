"""Options of `formicary up` that say how notices are delivered."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from formicary.engine.queen.notify.config import NotifyConfig

F = TypeVar("F", bound=Callable[..., Any])
PASSWORD_VARIABLE = "FORMICARY_SMTP_PASSWORD"


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    context.meta.setdefault(__name__, {})[parameter.name] = value


_OPTIONS = (
    click.option(
        "--smtp-url",
        expose_value=False,
        callback=_keep,
        default="",
        envvar="FORMICARY_SMTP_URL",
        metavar="URL",
        help="Send e-mails of `notify` through smtp://HOST:25 (STARTTLS where offered) or smtps://HOST:465; a user in "
        "front of HOST logs in with FORMICARY_SMTP_PASSWORD (FORMICARY_SMTP_URL).",
    ),
    click.option(
        "--smtp-from",
        expose_value=False,
        callback=_keep,
        default="",
        envvar="FORMICARY_SMTP_FROM",
        metavar="ADDRESS",
        help="Who e-mails are from (FORMICARY_SMTP_FROM).",
    ),
    click.option(
        "--public-url",
        expose_value=False,
        callback=_keep,
        default="",
        envvar="FORMICARY_PUBLIC_URL",
        metavar="URL",
        help="Where people find this server, for links in notices and to artifacts (FORMICARY_PUBLIC_URL).",
    ),
    click.option(
        "--notify-private",
        expose_value=False,
        callback=_keep,
        is_flag=True,
        envvar="FORMICARY_NOTIFY_PRIVATE",
        help="With --auth: webhooks of jobs may go to private and loopback addresses (FORMICARY_NOTIFY_PRIVATE).",
    ),
)


def notify_options(command: F) -> F:
    """Adds the options; what they say is in :func:`notify_config` while the command runs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def notify_config(*, is_guarded: bool) -> NotifyConfig:
    """What the options of the command that runs say.

    On a server that asks for no tokens whoever submits is on this machine: webhooks go anywhere.

    Raises:
        Problem: VALIDATION_FAILED.
    """
    from formicary.engine.queen.notify.config import NotifyConfig

    given = click.get_current_context().meta[__name__]
    return NotifyConfig(
        smtp_url=given["smtp_url"],
        smtp_password=os.environ.get(PASSWORD_VARIABLE, ""),
        smtp_from=given["smtp_from"],
        public_url=given["public_url"],
        may_reach_private=given["notify_private"] or not is_guarded,
    )
