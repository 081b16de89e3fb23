"""The six methods, in terms of messages; nothing here knows which protocol a call came by."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from examples.todo import filtering, paging, validation
from examples.todo.access import User
from examples.todo.store import Changed, Store, TitleTaken
from examples.todo.v1 import todo_pb2, todo_pb2_grpc
from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import FieldError, Problem, problem
from formicary.problems.rpc import to_status
from formicary.problems.showing import shown

log = logging.getLogger("examples.todo")

DEFAULT_PAGE = 50
RESOURCE = "todo.example.com/Task"


async def time_processing(call: Call, proceed: Run) -> None:
    """Tells how many milliseconds the call took, for errors too; the header mapping shows it as X-Processing-Time."""
    started = time.monotonic()
    try:
        await proceed(call)
    finally:
        call.set_header("processing-time", str(math.ceil((time.monotonic() - started) * 1000)))


class TodoService(todo_pb2_grpc.TodoServiceServicer):
    """The service.

    Args:
        store: Where tasks are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateTask(self, request: todo_pb2.CreateTaskRequest, context: Call) -> todo_pb2.Task:
        """Creates a task of the caller."""
        validation.check_create(request)
        task = await self._create(request.task, context.principal)
        return task

    async def GetTask(self, request: todo_pb2.GetTaskRequest, context: Call) -> todo_pb2.Task:
        """Reads a task."""
        validation.unless_valid(request)
        task = await self._own(request.name, context.principal)
        return task

    async def ListTasks(self, request: todo_pb2.ListTasksRequest, context: Call) -> todo_pb2.ListTasksResponse:
        """Lists tasks of the caller, or all for an administrator."""
        errors, user = [], context.principal
        where, order, after = None, filtering.DEFAULT_ORDER, None
        owner = None if user.admin else user.name
        query = (request.filter, request.order_by, owner or "")
        try:
            where = filtering.parse(request.filter)
        except filtering.InvalidFilter as error:
            errors.append(FieldError("filter", "INVALID_FILTER", f"The filter is not understood: {error}."))
        try:
            order = filtering.parse_order(request.order_by)
        except filtering.InvalidOrder as error:
            errors.append(FieldError("order_by", "INVALID_ORDER", f"The order is not understood: {error}."))
        if request.page_token:
            try:
                after = paging.decode(request.page_token, *query)
                if not errors and len(after) != len(order) + 1:
                    raise paging.InvalidToken("it is no page token")
            except paging.InvalidToken as error:
                text = f"The page token is of no use: {error}. Begin with the first page."
                errors.append(FieldError("page_token", "INVALID_PAGE_TOKEN", text))
        validation.unless_valid(request, errors)
        size = request.page_size or DEFAULT_PAGE
        page = await asyncio.to_thread(self._store.list, owner, where, order, after, size)
        token = paging.encode(page.last, *query) if page.last is not None else ""
        return todo_pb2.ListTasksResponse(tasks=page.tasks, next_page_token=token, total_size=page.total)

    async def UpdateTask(self, request: todo_pb2.UpdateTaskRequest, context: Call) -> todo_pb2.Task:
        """Changes what the mask names, if the task is still of the version that the caller knows."""
        paths = validation.check_update(request)
        before = await self._own(request.task.name, context.principal)
        _expect_version(before, request.task.etag, context)
        after = todo_pb2.Task()
        after.CopyFrom(before)
        for path in paths:
            validation.copy_field(request.task, after, path)
        now = datetime.now(UTC)
        validation.check_completion(before, after, now)
        after.update_time.FromDatetime(now)
        try:
            after.etag = await asyncio.to_thread(self._store.replace, after, before.etag)
        except Changed as error:
            raise _changed(before.name) from error
        except TitleTaken as error:
            raise _taken(after.title) from error
        return after

    async def DeleteTask(self, request: todo_pb2.DeleteTaskRequest, context: Call) -> todo_pb2.DeleteTaskResponse:
        """Removes a task, if it is still of the version that the caller knows."""
        validation.unless_valid(request)
        task = await self._own(request.name, context.principal)
        _expect_version(task, request.etag, context)
        try:
            await asyncio.to_thread(self._store.delete, task.name.removeprefix("tasks/"), task.etag)
        except Changed as error:
            raise _changed(task.name) from error
        return todo_pb2.DeleteTaskResponse(message=f"{task.name} is removed.")

    async def BatchCreateTasks(
        self, request: todo_pb2.BatchCreateTasksRequest, context: Call
    ) -> todo_pb2.BatchCreateTasksResponse:
        """Creates what can be created and tells of each request what became of it.

        Raises Problem UNAVAILABLE where the database is away and nothing was created.
        """
        validation.check_batch(request)
        response = todo_pb2.BatchCreateTasksResponse()
        away: Problem | None = None
        for item in request.requests:
            found = away or await self._try_create(item.task, context)
            if isinstance(found, Problem):
                away = found if found.code == "UNAVAILABLE" else None
                status = to_status(shown(found, trace_id=context.trace_id))
                response.results.add(status=status)
            else:
                response.results.add(status=status_pb2.Status(), name=found.name)
                response.tasks.append(found)
        if away is not None and not response.tasks:
            raise away
        return response

    async def _try_create(self, given: todo_pb2.Task, context: Call) -> todo_pb2.Task | Problem:
        """The task, or why it was not created; one that fails must not hide that others were."""
        try:
            return await self._create(given, context.principal)
        except Problem as error:
            return error
        except Exception:
            log.exception("a task of a batch failed, trace %s", context.trace_id)
            return problem("INTERNAL")

    async def _create(self, given: todo_pb2.Task, user: User) -> todo_pb2.Task:
        task = todo_pb2.Task(name=f"tasks/{uuid.uuid4()}", created_by=user.name, etag="1")
        for path in validation.MUTABLE:
            validation.copy_field(given, task, path)
        task.status = given.status or todo_pb2.STATUS_PENDING
        task.priority = given.priority or todo_pb2.PRIORITY_MEDIUM
        now = Timestamp()
        now.FromDatetime(datetime.now(UTC))
        task.create_time.CopyFrom(now)
        task.update_time.CopyFrom(now)
        try:
            await asyncio.to_thread(self._store.create, task)
        except TitleTaken as error:
            raise _taken(task.title) from error
        return task

    async def _own(self, name: str, user: User) -> todo_pb2.Task:
        """The task, if it is there and the user may use it."""
        task = await asyncio.to_thread(self._store.get, name.removeprefix("tasks/"))
        if task is None:
            raise problem("NOT_FOUND", f"There is no task {name}.", resource_type=RESOURCE, resource_name=name)
        if not user.may_use(task):
            raise problem("PERMISSION_DENIED", f"{name} belongs to somebody else.", resource_name=name)
        return task


def _expect_version(task: todo_pb2.Task, etag: str, context: Call) -> None:
    """The caller must know the present version: 412 where If-Match tells it, 409 where the message does.

    The gateway puts If-Match into the field etag, so the field is all there is to compare.
    """
    if etag and etag.strip('"') != task.etag:
        if context.value("if-match"):
            raise problem("PRECONDITION_FAILED", f"{task.name} is no longer of the version in If-Match.")
        raise _changed(task.name)


def _changed(name: str) -> Problem:
    return problem("CONFLICT", f"{name} was changed or removed meanwhile.", resource_type=RESOURCE, resource_name=name)


def _taken(title: str) -> Problem:
    return problem(
        "ALREADY_EXISTS",
        f"You have a task with the title {title!r} already.",
        errors=[FieldError("task.title", "DUPLICATE_TITLE", "The title is taken by another task.")],
        resource_type=RESOURCE,
    )
