"""Event triggers as a definition says them: what starts a job, which events count, and what the job gets of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

WEBHOOK: Final = "webhook"
QUEUE: Final = "queue"
OBJECTS: Final = "s3"
TYPES: Final = (WEBHOOK, QUEUE, OBJECTS)
MOST_TRIGGERS: Final = 5
"""Event triggers of one job."""
RESERVED_NAME: Final = "cron"
"""The name under which `cron_trigger` is shown."""
METHODS: Final = ("none", "hmac_sha256", "bearer_token", "api_key_header")
FORMS: Final = ("body", "timestamp", "standard")
"""What a signature covers, and how it is written: see :mod:`formicary.engine.queen.webhooks`."""
PROVIDERS: Final = ("nats", "redis")
BODY_HEADER: Final = "X-Hub-Signature-256"
TIMESTAMP_HEADER: Final = "X-Formicary-Signature"
STANDARD_HEADER: Final = "webhook-signature"
KEY_HEADER: Final = "X-Api-Key"
DEFAULT_TOLERANCE_S: Final = 300.0
DEFAULT_POLL_S: Final = 60.0
LEAST_POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WebhookAuth:
    """How a webhook shows that it comes from whom it says.

    Attributes:
        method: none, hmac_sha256, bearer_token or api_key_header.
        header: Header that carries the signature or the key.
        form: Of a signature: body (GitHub's), timestamp, or standard (Standard Webhooks).
        tolerance_s: Seconds by which a signed time may differ from the server's.
        secret_config: Name of the secret.
        secret_env: Environment variable of the server that holds it; its name begins with FORMICARY_SECRET_.
        secret_file: File in the server's folder of secrets that holds it.
    """

    method: str = "hmac_sha256"
    header: str = ""
    form: str = "body"
    tolerance_s: float = DEFAULT_TOLERANCE_S
    secret_config: str = ""
    secret_env: str = ""
    secret_file: str = ""

    @property
    def has_secret(self) -> bool:
        """Whether it says where the secret is."""
        return bool(self.secret_config or self.secret_env or self.secret_file)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `max_starts` jobs within `window_s` seconds, counted from the first of them."""

    max_starts: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """One entry of `triggers`.

    Attributes:
        type: webhook, queue or s3.
        name: Unique in the job.
        filter: Template; the event counts where it renders to true. Empty = every event counts.
        params: Parameters of the job: texts are templates over the event, any other JSON is taken as it is.
        dedup_key: Template; events of one key start one job, for ever. Empty = the event's own identity.
        rate_limit: None = there is none.
        template: Template language of the texts.
        auth: Of a webhook; None = as open as the server.
        topic: Of a queue: the subject of NATS, the key of a Redis stream.
        group: Name of the consumer (NATS) or of the consumer group (Redis); empty = made of job and trigger.
        provider: nats or redis; empty = as the server's queue.
        url: Address of the queue or of the objects; empty = the server's.
        bucket: Of an object store; empty = `url` says all.
        prefix: Only objects whose key begins so.
        suffix: Only objects whose key ends so.
        poll_interval_s: Seconds between two lists.
        from_beginning: Objects that are there already count too.
        notification_queue: Subject or stream in which the store tells of its new objects; empty = it is listed.
        notification_url: Address of that queue; empty = the server's, and without one the store is listed.
        enabled: No event counts where it is false.
    """

    type: str
    name: str
    filter: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    dedup_key: str = ""
    rate_limit: RateLimit | None = None
    template: str = "go"
    auth: WebhookAuth | None = None
    topic: str = ""
    group: str = ""
    provider: str = ""
    url: str = ""
    bucket: str = ""
    prefix: str = ""
    suffix: str = ""
    poll_interval_s: float = DEFAULT_POLL_S
    from_beginning: bool = False
    notification_queue: str = ""
    notification_url: str = ""
    enabled: bool = True

    @property
    def source(self) -> str:
        """Where its events come from, for people."""
        if self.type == QUEUE:
            return self.topic
        if self.type == OBJECTS:
            return f"{self.url or 's3://' + self.bucket}/{self.prefix}".rstrip("/")
        return self.auth.method if self.auth is not None else "as the server"
