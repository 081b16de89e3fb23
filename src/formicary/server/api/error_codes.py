"""Rules of error codes over the API."""

from __future__ import annotations

from formicary.engine.jobs.error_rules import ErrorRule, Failure
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import page_tokens
from formicary.server.auth.principal import HOME
from formicary.v1 import error_codes_pb2 as pb
from formicary.v1 import error_codes_pb2_grpc

DEFAULT_PAGE = 100


class ErrorCodeServicer(error_codes_pb2_grpc.ErrorCodeServiceServicer):
    """Rules as people see them.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._rules = queen.error_codes

    async def SetErrorCode(self, request: pb.SetErrorCodeRequest, call: Call) -> pb.ErrorCode:
        """Stores a rule."""
        rule = ErrorRule(
            _org(call, system=request.system, changes=True),
            request.name,
            request.job_type,
            request.task_type,
            request.platform,
            request.exit_code if request.HasField("exit_code") else None,
            request.pattern,
            request.code,
            request.message,
            request.action,
            request.retry,
            updated_by=call.principal.id,
        )
        return _message(await self._rules.put(rule))

    async def ListErrorCodes(self, request: pb.ListErrorCodesRequest, call: Call) -> pb.ListErrorCodesResponse:
        """A page of rules."""
        after = page_tokens.named_position(request.page_token, [])[0] if request.page_token else ""
        found = [rule for rule in self._rules.of(call.principal.org) if _place(rule) > after]
        page = found[: request.page_size or DEFAULT_PAGE]
        more = len(found) > len(page)
        return pb.ListErrorCodesResponse(
            error_codes=map(_message, page),
            next_page_token=page_tokens.named(_place(page[-1]), 1, []) if more else "",
        )

    async def GetErrorCode(self, request: pb.GetErrorCodeRequest, call: Call) -> pb.ErrorCode:
        """One rule."""
        return _message(self._rules.get(_org(call, system=request.system), request.name))

    async def DeleteErrorCode(self, request: pb.DeleteErrorCodeRequest, call: Call) -> pb.ErrorCode:
        """Removes a rule and shows what it was."""
        return _message(await self._rules.remove(_org(call, system=request.system, changes=True), request.name))

    async def MatchErrorCode(self, request: pb.MatchErrorCodeRequest, call: Call) -> pb.MatchErrorCodeResponse:
        """Which rule would count."""
        code = request.exit_code if request.HasField("exit_code") else None
        failure = Failure(call.principal.org, request.job_type, request.task_type, request.platform, code, request.text)
        found = self._rules.find(failure)
        return pb.MatchErrorCodeResponse(error_code=_message(found) if found is not None else None)


def _org(call: Call, *, system: bool, changes: bool = False) -> str:
    """Whose rule is meant. Raises Problem PERMISSION_DENIED for what is not the caller's organisation's own."""
    who = call.principal
    if system and changes and (who.org != HOME or "admin" not in who.roles):
        text = "Error codes of the system are for administrators of the server's own organisation."
        raise problem("PERMISSION_DENIED", text)
    return "" if system else str(who.org)


def _place(rule: ErrorRule) -> str:
    return f"{0 if rule.org else 1}\0{rule.name}"


def _message(rule: ErrorRule) -> pb.ErrorCode:
    found = pb.ErrorCode(
        name=rule.name,
        code=rule.code,
        exit_code=rule.exit_code,
        pattern=rule.pattern,
        job_type=rule.job_type,
        task_type=rule.task_type,
        platform=rule.platform,
        message=rule.message,
        action=rule.action,
        retry=rule.retry,
        system=not rule.org,
        updated_by=rule.updated_by,
    )
    found.created_at.FromMilliseconds(int(rule.created_at * 1000))
    found.updated_at.FromMilliseconds(int(rule.updated_at * 1000))
    return found
