"""Notices of alerts: they are about the server, not about a job. Their channels come from its operator's own file.

An alert's notice is written in the commit in which its episode begins or ends, so that it is told although the server
is killed right then, and delivered, tried again and given up like every other. No job's end removes it: of each alert
the messages of the last hundred episodes are kept, the next one takes the row of the oldest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs.notices import EMAIL, WEBHOOK, Channel, is_address
from formicary.engine.queen.notify.calls import HttpCall
from formicary.engine.queen.notify.mail import Mail

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

ALERT = "alert"
KEPT_EPISODES, KEPT_MESSAGES = 100, 10
"""Of each alert, and of each episode."""
_encode = msgspec.json.Encoder().encode


def channels_of(url: str, recipients: Sequence[str], *, can_mail: bool) -> list[Channel]:
    """Where an alert is told: a URL, and the recipients that have a mailbox where the server can send e-mails.

    Without a URL they are written to in any case: that it cannot be sent is then seen in the list of notices.
    """
    when = frozenset({ALERT})
    addresses = tuple(one for one in recipients if is_address(one))
    found = [Channel(WEBHOOK, when, url=url)] if url else []
    return [*found, Channel(EMAIL, when, addresses)] if addresses and (can_mail or not url) else found


def write(
    core: Core, org: str, episode: int, which: int, payload: Mapping[str, Any], channels: Sequence[Channel]
) -> None:
    """Puts the notices of an alert into the next commit.

    Args:
        core: Of the queen.
        org: Whose notices they are.
        episode: Number of the episode.
        which: Of its messages, from 1; 0 = that it is over. The same is told once.
        payload: With `alert`, its name, and `state`, firing or resolved.
        channels: Where it is told.
    """
    batch, wall, name = core.batch, round(core.wall, 3), str(payload["alert"])
    event = f"alert.{payload['state']}"
    digest, last = sha256(name.encode()).hexdigest()[:16], which or "over"
    for number, channel in enumerate(channels):
        slot = f"{episode % KEPT_EPISODES}-{which % KEPT_MESSAGES if which else last}"
        notice_id, own = f"alert-{digest}-{slot}.{number}", f"alert-{digest}-{episode}-{last}.{number}"
        stored = {"id": own, "event": event, "outcome": ALERT, "time": wall, **payload}
        batch.changes.notices[notice_id] = (
            *(notice_id, 0, org, "", name, channel.kind, event),
            *(_encode(channel), _encode(stored), "PENDING", 0, wall, wall, None, ""),
        )
        batch.notices = True


def to_send(channel: Channel, payload: Mapping[str, Any]) -> Mail | HttpCall:
    """What is sent of an alert."""
    notice_id = str(payload["id"])
    if channel.kind == EMAIL:
        word = "is over" if payload["state"] == "resolved" else "fires"
        lines = [f"The alert {payload['alert']} {word}: {payload['condition']}"]
        lines += [str(payload["message"])] if payload["message"] else []
        return Mail(notice_id, channel.recipients, f"alert {payload['alert']} {word}", "\n\n".join(lines) + "\n")
    return HttpCall(notice_id, "POST", channel.url, _encode(payload), is_trusted=True)
