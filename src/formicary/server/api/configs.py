"""Configurations and secrets over the API."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from formicary.engine.jobs.configs import SCOPES
from formicary.engine.queen.configs import Config, Configs
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import page_tokens
from formicary.server.auth.principal import HOME
from formicary.v1 import configs_pb2 as pb
from formicary.v1 import configs_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_WHOLE = 2**53


class ConfigServicer(configs_pb2_grpc.ConfigServiceServicer):
    """Configurations as people see them.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._configs: Configs = queen.configs

    async def SetConfig(self, request: pb.SetConfigRequest, call: Call) -> pb.Config:
        """Stores a value."""
        scope, who = request.scope or "org", call.principal
        _check_scope(scope, call)
        config = await self._configs.put(
            who.org, scope, request.owner, request.name, _plain(request.value), secret=request.secret, by=who.id
        )
        return _message(config)

    async def ListConfigs(self, request: pb.ListConfigsRequest, call: Call) -> pb.ListConfigsResponse:
        """A page of configurations."""
        filters = [request.scope, request.owner, request.secrets]
        after = page_tokens.named_position(request.page_token, filters)[0] if request.page_token else ""
        every = self._configs.of(
            call.principal.org, scope=request.scope, owner=request.owner, secrets_alone=request.secrets
        )
        found = [one for one in every if _place(one) > after]
        page = found[: request.page_size or DEFAULT_PAGE]
        more = len(found) > len(page)
        return pb.ListConfigsResponse(
            configs=map(_message, page),
            next_page_token=page_tokens.named(_place(page[-1]), 1, filters) if more else "",
        )

    async def GetConfig(self, request: pb.GetConfigRequest, call: Call) -> pb.Config:
        """One configuration, masked."""
        return _message(self._configs.find(call.principal.org, request.scope, request.owner, request.name))

    async def DeleteConfig(self, request: pb.DeleteConfigRequest, call: Call) -> pb.Config:
        """Removes a configuration and shows what it was, masked."""
        _check_scope(request.scope, call)
        found = self._configs.find(call.principal.org, request.scope, request.owner, request.name)
        await self._configs.remove(found)
        return _message(found)

    async def RevealConfig(self, request: pb.RevealConfigRequest, call: Call) -> pb.Config:
        """The value of a secret."""
        _check_scope(request.scope, call)
        found = self._configs.find(call.principal.org, request.scope, request.owner, request.name)
        message = _message(found)
        message.value.CopyFrom(_value(self._configs.reveal(found)))
        return message

    async def RotateSecrets(self, request: pb.RotateSecretsRequest, call: Call) -> pb.RotateSecretsResponse:
        """Encrypts every secret with the first key."""
        done = await self._configs.rotate()
        return pb.RotateSecretsResponse(
            key_id=done.key_id, rotated=done.rotated, unreadable=done.unreadable, keys=done.keys
        )


def _check_scope(scope: str, call: Call) -> None:
    """Raises Problem PERMISSION_DENIED for what is not the caller's organisation's own."""
    who = call.principal
    if scope == "system" and (who.org != HOME or "admin" not in who.roles):
        raise problem(
            "PERMISSION_DENIED", "Configurations of the system are for administrators of the server's own organisation."
        )


def _place(config: Config) -> str:
    return f"{SCOPES.index(config.scope)}\0{config.owner}\0{config.name}"


def _plain(value: Value) -> object:
    """The value; a whole number is one again."""
    return _whole(MessageToDict(value))


def _value(plain: Any) -> Value:
    return ParseDict(plain, Value())


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_WHOLE:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _message(config: Config) -> pb.Config:
    found = pb.Config(
        scope=config.scope,
        owner=config.owner,
        name=config.name,
        type=config.type,
        secret=bool(config.secret),
        value=_value(config.shown),
        key_id=config.key_id,
        updated_by=config.updated_by,
    )
    found.created_at.FromMilliseconds(int(config.created_at * 1000))
    found.updated_at.FromMilliseconds(int(config.updated_at * 1000))
    return found
