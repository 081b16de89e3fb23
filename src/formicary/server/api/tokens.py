"""Tokens over the API."""

from __future__ import annotations

from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.auth.principal import HOME
from formicary.server.auth.tokens import Token, TokenBook, new_token
from formicary.v1 import tokens_pb2 as pb
from formicary.v1 import tokens_pb2_grpc


class TokenServicer(tokens_pb2_grpc.TokenServiceServicer):
    """Tokens as administrators see them.

    Args:
        book: The server's tokens.
    """

    def __init__(self, book: TokenBook) -> None:
        self._book = book

    async def CreateToken(self, request: pb.CreateTokenRequest, call: Call) -> pb.CreateTokenResponse:
        """Makes a token and shows its text this once."""
        own = call.principal.org
        if own != HOME and request.org not in ("", own):
            raise problem("PERMISSION_DENIED", "Tokens of another organisation are not yours to make.")
        lifetime_s = request.lifetime.ToMilliseconds() / 1000
        text, token = new_token(request.role, request.org or own, request.name, lifetime_s)
        await self._book.add(token)
        return pb.CreateTokenResponse(token=text, record=_message(token))

    async def ListTokens(self, request: pb.ListTokensRequest, call: Call) -> pb.ListTokensResponse:
        """The tokens of the caller's organisation."""
        tokens = self._book.of(call.principal.org)
        shown = [token for token in tokens if token.revoked_at is None or request.include_revoked]
        return pb.ListTokensResponse(tokens=[_message(token) for token in shown])

    async def RevokeToken(self, request: pb.RevokeTokenRequest, call: Call) -> pb.ApiToken:
        """Ends a token."""
        return _message(await self._book.revoke(request.id, call.principal.org))


def _message(token: Token) -> pb.ApiToken:
    message = pb.ApiToken(id=token.id, org=token.org, role=token.role, name=token.name, last4=token.last4)
    message.created_at.FromMilliseconds(int(token.created_at * 1000))
    if token.expires_at is not None:
        message.expires_at.FromMilliseconds(int(token.expires_at * 1000))
    if token.revoked_at is not None:
        message.revoked_at.FromMilliseconds(int(token.revoked_at * 1000))
    return message
