"""Uploads in parts over the API: messages over gRPC, the headers of the IETF's resumable uploads over HTTP.

Source: draft-ietf-httpbis-resumable-upload (Upload-Offset, Upload-Complete, Upload-Length are structured-field items).
An upload says its size at its beginning here, so a part that reaches it is the last one, whatever Upload-Complete says.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from formicary.engine.queen.artifacts import to_message
from formicary.engine.queen.uploads import OtherOffset, Uploads, UploadState
from formicary.gateway import Call
from formicary.problems import FieldError, problem
from formicary.server.api import contents, digests
from formicary.server.api.jobs import REPLAYED_HEADER, sent_key
from formicary.v1 import uploads_pb2 as pb
from formicary.v1 import uploads_pb2_grpc

OFFSET, COMPLETE, LENGTH, LOCATION = "upload-offset", "upload-complete", "upload-length", "location"
_WHOLE = re.compile(r"[0-9]{1,15}\Z")
_TRUTH = {"": None, "?0": False, "?1": True}


class UploadServicer(uploads_pb2_grpc.UploadServiceServicer):
    """Uploads of one queen."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def CreateUpload(self, request: pb.CreateUploadRequest, call: Call) -> pb.Upload:
        """Begins an upload, once for each idempotency key."""
        size = _whole(call, LENGTH, request.size_bytes if request.HasField("size_bytes") else None)
        offer = contents.offer(request.name, size, request.sha256, request.expires_after_s)
        offer = digests.put_into(offer, digests.of_whole(call))
        found, is_replay = await self._uploads.create(call.principal.org, offer, sent_key("", call))
        if is_replay:
            call.set_header(REPLAYED_HEADER, "true")
        call.set_header(LOCATION, f"/v1/uploads/{found.artifact.id}")
        call.state["http_status"] = 201
        return _shown(found, call)

    async def GetUpload(self, request: pb.GetUploadRequest, call: Call) -> pb.Upload:
        """An upload as it is now."""
        return _shown(await self._uploads.state(call.principal.org, request.id), call)

    async def AppendUpload(self, requests: AsyncIterator[pb.AppendUploadRequest], call: Call) -> pb.Upload:
        """Adds a part."""
        first = await anext(requests, None)
        if first is None or not first.id:
            raise problem("VALIDATION_FAILED", "The first message says which upload goes on where: give `id`.")
        offset = _whole(call, OFFSET, first.offset if first.HasField("offset") else None)
        is_last = _truth(call)
        if offset is None:
            text = "Say where the part begins: the bytes that are there already."
            raise problem("VALIDATION_FAILED", text, errors=[FieldError("Upload-Offset", "REQUIRED_FIELD", text)])
        expected = digests.of_content(call)
        pieces = digests.checked(contents.joined(first.content.data, _data(requests)), expected, but="")
        try:
            found = await self._uploads.append(call.principal.org, first.id, offset, pieces)
        except OtherOffset as error:
            _say(error.state, call)
            raise error.problem from error
        if is_last and not found.is_complete:
            _say(found, call)
            text = f"Upload-Complete says that this was all: {found.offset} of {found.artifact.size} bytes are there."
            raise problem("VALIDATION_FAILED", text, errors=[FieldError("Upload-Complete", "CONFLICT", text)])
        return _shown(found, call)

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, call: Call) -> pb.Upload:
        """Gives an upload up, and shows what it was."""
        return _message(await self._uploads.remove(call.principal.org, request.id))


async def _data(requests: AsyncIterator[pb.AppendUploadRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.content.data


def _whole(call: Call, name: str, given: int | None) -> int | None:
    """A number of bytes of a header or of the request. Raises Problem VALIDATION_FAILED."""
    sent = call.value(name).strip()
    header = name.title()
    if sent and not _WHOLE.match(sent):
        raise problem(
            "VALIDATION_FAILED",
            f"{header} is no number of bytes.",
            errors=[FieldError(header, "INVALID_FORMAT", f"{sent[:40]!r} is no number of bytes.")],
        )
    value = int(sent) if sent else given
    if value is not None and (value < 0 or (given is not None and given != value)):
        text = f"{header} says {value}, the request {given}: a number of bytes, and one only."
        raise problem("VALIDATION_FAILED", text, errors=[FieldError(header, "CONFLICT", text)])
    return value


def _truth(call: Call) -> bool | None:
    """What Upload-Complete says. Raises Problem VALIDATION_FAILED."""
    sent = call.value(COMPLETE).strip()
    if sent not in _TRUTH:
        text = f"{sent[:40]!r} is neither ?1 (this is the last part) nor ?0."
        raise problem("VALIDATION_FAILED", text, errors=[FieldError("Upload-Complete", "INVALID_FORMAT", text)])
    return _TRUTH[sent]


def _say(found: UploadState, call: Call) -> None:
    """What the headers of every answer say of an upload."""
    call.set_header(OFFSET, str(found.offset))
    call.set_header(COMPLETE, "?1" if found.is_complete else "?0")
    call.set_header(LENGTH, str(found.artifact.size))
    call.set_header("cache-control", "no-store")


def _shown(found: UploadState, call: Call) -> pb.Upload:
    _say(found, call)
    return _message(found)


def _message(found: UploadState) -> pb.Upload:
    """An upload as it travels."""
    artifact = found.artifact
    shown = pb.Upload(
        id=artifact.id,
        name=artifact.name,
        offset=found.offset,
        size_bytes=artifact.size,
        sha256=artifact.sha256,
        complete=found.is_complete,
        artifact=to_message(artifact) if found.is_complete else None,
    )
    shown.created_at.FromMilliseconds(int(artifact.created_at * 1000))
    shown.expires_at.FromMilliseconds(int(found.expires_at * 1000))
    return shown
