"""The queen over gRPC: thin servicers over one :class:`Queen`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.runtime import Queen
from formicary.problems import Problem, problem
from formicary.v1 import ants_pb2 as ants
from formicary.v1 import ants_pb2_grpc, jobs_pb2_grpc
from formicary.v1 import jobs_pb2 as jobs

log = logging.getLogger("formicary.queen")
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
LOG_POLL_S = 0.25
PROBLEM_KEY = "problem-bin"
"""Trailing metadata that carries the problem document."""

_encode = msgspec.json.Encoder().encode
Context = grpc.aio.ServicerContext[Any, Any]


async def _abort(context: Context, error: Problem) -> None:
    code = getattr(grpc.StatusCode, error.grpc_code, grpc.StatusCode.INTERNAL)
    document = _encode(error.to_document())
    await context.abort(code, error.detail, ((PROBLEM_KEY, document),))


async def _answer(context: Context, work: Awaitable[Any]) -> Any:
    """The call's answer, or its problem as a status; what is unexpected is logged and shown without its text."""
    try:
        return await work
    except Problem as error:
        await _abort(context, error)
    except Exception as error:
        log.exception("a call failed")
        if isinstance(error, grpc.aio.AbortError):
            raise
        await _abort(context, problem("INTERNAL", "the queen failed on this call; its log says why"))


class AntServicer(ants_pb2_grpc.AntServiceServicer):
    """Sessions with ants."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def Session(self, request_iterator: AsyncIterator[ants.AntMessage], context: Context) -> None:
        """One ant's stream."""
        await _answer(context, self._queen.serve_ant(request_iterator, context.write))


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Jobs as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def RegisterDefinition(self, request: jobs.RegisterDefinitionRequest, context: Context) -> Any:
        """Stores a definition."""
        queen = self._queen

        async def work() -> jobs.RegisterDefinitionResponse:
            found = await queen.submitting.register(
                request.source, dict(request.methods), request.path, request.filename, queen.config.org
            )
            version = found.row[3]
            return jobs.RegisterDefinitionResponse(
                definition_id=found.id, job_type=found.job_type, version=version if isinstance(version, int) else 0
            )

        return await _answer(context, work())

    async def SubmitJobs(self, request: jobs.SubmitJobsRequest, context: Context) -> Any:
        """Submits in one call."""

        async def work() -> jobs.SubmitJobsResponse:
            return jobs.SubmitJobsResponse(ids=await self._queen.submit_request(request, "", None))

        return await _answer(context, work())

    async def Session(self, request_iterator: AsyncIterator[jobs.ClientMessage], context: Context) -> None:
        """The client library's stream."""
        await _answer(context, self._queen.serve_client(request_iterator, context.write))

    async def GetJob(self, request: jobs.GetJobRequest, context: Context) -> Any:
        """One job's document."""
        return await _answer(context, self._job(request.id))

    async def ListJobs(self, request: jobs.ListJobsRequest, context: Context) -> None:
        """Summaries, newest first."""

        async def work() -> None:
            found = self._queen.documents(states=request.states, job_type=request.job_type, limit=request.limit)
            async for document in found:
                await context.write(_message(document))

        await _answer(context, work())

    async def CancelJob(self, request: jobs.CancelJobRequest, context: Context) -> Any:
        """Cancels a job."""
        return await self._command(context, request.id, lambda: self._queen.cancel(request.id, request.reason))

    async def RetryJob(self, request: jobs.RetryJobRequest, context: Context) -> Any:
        """Runs an ended job again."""
        return await self._command(context, request.id, lambda: self._queen.retry(request.id, hard=request.hard))

    async def ResumeJob(self, request: jobs.ResumeJobRequest, context: Context) -> Any:
        """A paused job goes on."""
        return await self._command(context, request.id, lambda: self._queen.resume(request.id))

    async def FollowJob(self, request: jobs.GetJobRequest, context: Context) -> None:
        """The document at each change."""

        async def work() -> None:
            async for document in self._queen.follow(request.id):
                await context.write(_message(document))

        await _answer(context, work())

    async def ReadLogs(self, request: jobs.ReadLogsRequest, context: Context) -> None:
        """Log lines, until the job has ended if asked."""

        async def work() -> None:
            queen, offset = self._queen, 0
            while True:
                document = await queen.document(request.id)
                over = document["state"] in life.JOB_ENDED or not request.follow
                records, offset = await asyncio.to_thread(
                    queen.log_lines, request.id, task_type=request.task_type, offset=offset
                )
                for x in records:
                    await context.write(
                        jobs.LogRecord(
                            task_type=x.task_type, attempt=x.attempt, time=x.time, stream=x.stream, text=x.text
                        )
                    )
                if over and not records:
                    return
                if not over:
                    await asyncio.sleep(LOG_POLL_S)

        await _answer(context, work())

    async def _command(self, context: Context, job_id: str, command: Callable[[], Awaitable[None]]) -> Any:
        async def work() -> jobs.Job:
            await command()
            return await self._job(job_id)

        return await _answer(context, work())

    async def _job(self, job_id: str) -> jobs.Job:
        return _message(await self._queen.document(job_id))


def _message(document: dict[str, Any]) -> jobs.Job:
    return jobs.Job(id=document["id"], state=document["state"], document=_encode(document))


class GrpcServer:
    """A running gRPC server of one queen."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port

    async def stop(self, grace_s: float = 1.0) -> None:
        """Takes no more calls, lets those in flight finish for `grace_s`, then ends them."""
        await self._server.stop(grace_s)


async def serve(queen: Queen, host: str, port: int) -> GrpcServer:
    """Serves the queen; port 0 = any free one. Raises Problem where the port is taken."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ]
    )
    ants_pb2_grpc.add_AntServiceServicer_to_server(AntServicer(queen), server)  # type: ignore[no-untyped-call]  # generated
    jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(queen), server)  # type: ignore[no-untyped-call]  # generated
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise problem("FAILED_PRECONDITION", f"{host}:{port} cannot be bound: is another server using it?") from error
    await server.start()
    return GrpcServer(server, bound)
