"""A service of orders over gRPC whose handler notes every execution; its messages are made here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

PACKAGE = "formicary.tests.orders"
CREATE = f"/{PACKAGE}.Orders/CreateOrder"
_TEXT, _NUMBER = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_INT32


def _made() -> ServiceDescriptor:
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(name="formicary/tests/orders.proto", package=PACKAGE, syntax="proto3")
    for name, fields in (("OrderRequest", (("item", _TEXT), ("count", _NUMBER), ("request_id", _TEXT))),
                         ("Order", (("number", _NUMBER), ("item", _TEXT)))):  # fmt: skip
        message = file.message_type.add(name=name)
        for place, (field, kind) in enumerate(fields, 1):
            message.field.add(name=field, number=place, type=kind, label=1, json_name=field)
    service = file.service.add(name="Orders")
    for name, streams in (("CreateOrder", False), ("WatchOrders", True)):
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.OrderRequest",
            output_type=f".{PACKAGE}.Order",
            server_streaming=streams,
        )
    pool.Add(file)
    return pool.FindServiceByName(f"{PACKAGE}.Orders")


ORDERS = _made()
_messages = descriptor_pool.Default()
OrderRequest: Any = message_factory.GetMessageClass(_messages.FindMessageTypeByName(f"{PACKAGE}.OrderRequest"))
Order: Any = message_factory.GetMessageClass(_messages.FindMessageTypeByName(f"{PACKAGE}.Order"))
Do = Callable[[Any, Any], Awaitable[Any]]


class Orders:
    """Makes another order each time; `do` may be replaced by what a test wants to happen."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.do: Do | None = None

    async def CreateOrder(self, request: Any, context: Any) -> Any:
        """Unary."""
        self.made.append(request)
        if self.do is not None:
            return await self.do(request, context)
        return Order(number=len(self.made), item=request.item)

    async def WatchOrders(self, request: Any, context: Any) -> Any:
        """A stream of two."""
        self.made.append(request)
        for number in (1, 2):
            yield Order(number=number)


def handlers(create: Callable[[Any, Any], Any], watch: Callable[[Any, Any], Any]) -> grpc.GenericRpcHandler:
    """The service as grpc.aio takes it."""
    forms = {"request_deserializer": OrderRequest.FromString, "response_serializer": Order.SerializeToString}
    return grpc.method_handlers_generic_handler(
        f"{PACKAGE}.Orders",
        {
            "CreateOrder": grpc.unary_unary_rpc_method_handler(create, **forms),
            "WatchOrders": grpc.unary_stream_rpc_method_handler(watch, **forms),
        },
    )
