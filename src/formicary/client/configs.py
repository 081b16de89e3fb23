"""Configurations and secrets through a client."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from formicary.client.client import Client
from formicary.client.documents import config as document
from formicary.v1 import configs_pb2 as pb


async def set_config(
    client: Client, name: str, value: object, *, scope: str = "org", owner: str = "", secret: bool = False
) -> dict[str, Any]:
    """Stores a value, instead of an earlier one; returns its document, masked.

    Args:
        client: An open client.
        name: Of the variable.
        value: A text, number, bool, list or dict.
        scope: system, org, user or job.
        owner: Of the scope user who, of job the job type.
        secret: Encrypt it, mask it and show it to nobody.

    Raises:
        Problem: VALIDATION_FAILED, FAILED_PRECONDITION (no key for secrets), PERMISSION_DENIED, UNAVAILABLE.
    """
    plain: Any = value
    given = ParseDict(plain, Value())
    request = pb.SetConfigRequest(scope=scope, owner=owner, name=name, value=given, secret=secret)
    return document(await client.call("SetConfig", request))


async def list_configs(
    client: Client, *, scope: str = "", owner: str = "", secrets: bool = False
) -> list[dict[str, Any]]:
    """Documents of the configurations that the caller's organisation sees. Raises Problem as above."""
    request = pb.ListConfigsRequest(scope=scope, owner=owner, secrets=secrets, page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListConfigsResponse = await client.call("ListConfigs", request)
        found += map(document, page.configs)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def get_config(client: Client, name: str, *, scope: str = "org", owner: str = "") -> dict[str, Any]:
    """One document. Raises Problem NOT_FOUND, and as above."""
    return document(await client.call("GetConfig", pb.GetConfigRequest(scope=scope, owner=owner, name=name)))


async def delete_config(client: Client, name: str, *, scope: str = "org", owner: str = "") -> dict[str, Any]:
    """Removes a configuration; returns its document. Raises Problem NOT_FOUND, and as above."""
    request = pb.DeleteConfigRequest(scope=scope, owner=owner, name=name)
    return document(await client.call("DeleteConfig", request, again=False))


async def reveal_config(client: Client, name: str, *, scope: str = "org", owner: str = "") -> dict[str, Any]:
    """The document with the value of a secret; for administrators. Raises Problem NOT_FOUND, and as above."""
    return document(await client.call("RevealConfig", pb.RevealConfigRequest(scope=scope, owner=owner, name=name)))


async def rotate_secrets(client: Client) -> dict[str, Any]:
    """Encrypts every secret with the first key of the server. Raises Problem as above."""
    done: pb.RotateSecretsResponse = await client.call("RotateSecrets", pb.RotateSecretsRequest())
    return {
        "key_id": done.key_id,
        "rotated": done.rotated,
        "unreadable": list(done.unreadable),
        "keys": list(done.keys),
    }
