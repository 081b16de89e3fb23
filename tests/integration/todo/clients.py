"""The to-do service by its two protocols, as one client: messages in, messages or the server's problem out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import httpx
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from examples.todo.v1 import todo_pb2, todo_pb2_grpc
from formicary.problems import Problem
from formicary.problems.rpc import from_rpc_error

Call = Callable[[Any], Any]


class GrpcClient:
    """Over gRPC."""

    protocol = "grpc"

    def __init__(self, port: int, token: str) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = todo_pb2_grpc.TodoServiceStub(self._channel)
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        self.headers: Mapping[str, str] = {}

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def call(self, method: str, request: Any) -> Any:
        """Calls a method. Raises Problem."""
        try:
            response, call = getattr(self._stub, method).with_call(request, metadata=self._metadata, timeout=90)
        except grpc.RpcError as error:
            self.headers = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
            raise from_rpc_error(error) from error
        self.headers = dict(call.initial_metadata()) | dict(call.trailing_metadata())
        return response


class RestClient:
    """Over REST; the URLs are written by hand, so that the annotations are checked too."""

    protocol = "http"

    def __init__(self, port: int, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=90)
        self.headers: Mapping[str, str] = {}

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    def call(self, method: str, request: Any) -> Any:
        """Calls a method. Raises Problem."""
        verb, path, query, body = _REQUESTS[method](request)
        answer = self.http.request(verb, path, params=query, json=body)
        self.headers = dict(answer.headers)
        if answer.status_code != 200:
            assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
            document = answer.json()
            assert document["status"] == answer.status_code
            raise Problem.from_document(document)
        return json_format.ParseDict(answer.json(), _ANSWERS[method]())


def _json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _update(request: todo_pb2.UpdateTaskRequest) -> tuple[str, str, dict[str, Any], Any]:
    query = {"update_mask": ",".join(request.update_mask.paths)} if request.HasField("update_mask") else {}
    body = _json(request.task)
    return "PATCH", f"/v1/{body.pop('name', 'tasks/none')}", query, body


_REQUESTS: dict[str, Callable[[Any], tuple[str, str, Any, Any]]] = {
    "CreateTask": lambda request: ("POST", "/v1/tasks", None, _json(request)),
    "GetTask": lambda request: ("GET", f"/v1/{request.name}", None, None),
    "ListTasks": lambda request: ("GET", "/v1/tasks", _json(request), None),
    "UpdateTask": _update,
    "DeleteTask": lambda request: (
        "DELETE",
        f"/v1/{request.name}",
        {"etag": request.etag} if request.etag else None,
        None,
    ),
    "BatchCreateTasks": lambda request: ("POST", "/v1/tasks:batchCreate", None, _json(request)),
}
_ANSWERS: dict[str, Callable[[], Any]] = {
    "CreateTask": todo_pb2.Task,
    "GetTask": todo_pb2.Task,
    "ListTasks": todo_pb2.ListTasksResponse,
    "UpdateTask": todo_pb2.Task,
    "DeleteTask": todo_pb2.DeleteTaskResponse,
    "BatchCreateTasks": todo_pb2.BatchCreateTasksResponse,
}


class Tasks:
    """What tests say, over either protocol."""

    def __init__(self, client: GrpcClient | RestClient) -> None:
        self.client = client

    def create(self, title: str = "Buy milk", **fields: Any) -> Any:
        """Creates a task."""
        task = todo_pb2.Task(title=title, **fields)
        return self.client.call("CreateTask", todo_pb2.CreateTaskRequest(task=task))

    def get(self, name: str) -> Any:
        """Reads a task."""
        return self.client.call("GetTask", todo_pb2.GetTaskRequest(name=name))

    def list(self, **fields: Any) -> Any:
        """Reads a page."""
        return self.client.call("ListTasks", todo_pb2.ListTasksRequest(**fields))

    def titles(self, filter: str = "", **fields: Any) -> list[str]:
        """Titles of a page."""
        return [task.title for task in self.list(filter=filter, **fields).tasks]

    def update(self, name: str, *paths: str, **fields: Any) -> Any:
        """Changes a task."""
        task = todo_pb2.Task(name=name, **fields)
        request = todo_pb2.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=paths))
        return self.client.call("UpdateTask", request)

    def delete(self, name: str, etag: str = "") -> Any:
        """Removes a task."""
        return self.client.call("DeleteTask", todo_pb2.DeleteTaskRequest(name=name, etag=etag))

    def batch(self, *tasks: Any) -> Any:
        """Creates several tasks; None stands for a request without one."""
        requests = [todo_pb2.CreateTaskRequest(task=task) for task in tasks]
        return self.client.call("BatchCreateTasks", todo_pb2.BatchCreateTasksRequest(requests=requests))
