"""Elasticity of a real server: Kubernetes' external metrics over HTTP, KEDA's scaler by a plain gRPC client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import grpc
import pytest

from formicary.client import SyncClient
from formicary.v1 import external_scaler_pb2 as pb
from tests.acceptance.server import Up, free_port, until
from tests.integration.server.test_tokens import token

BASE = "/apis/external.metrics.k8s.io/v1beta1"
JOB = """\
job_type: {name}
tasks:
  - task_type: wait
    tags: [{tags}]
    script: ['sleep 60']
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant with one slot, and a port for KEDA."""
    port = free_port()
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "1", "--tags", "eu", "--scaler", f"127.0.0.1:{port}")
    try:
        server.start()
        server.scaler = port  # type: ignore[attr-defined]  # for the tests here
        yield server
    finally:
        server.clear()


def submit(up: Up, name: str, tags: str, count: int) -> None:
    """So many jobs of one task."""
    with SyncClient(up.address) as client:
        definition = client.register(JOB.format(name=name, tags=tags))
        for _ in range(count):
            client.submit(definition)


def get(up: Up, path: str, bearer: str = "") -> tuple[int, dict[str, Any]]:
    """Status and document."""
    request = Request(f"http://127.0.0.1:{up.http}{path}")
    if bearer:
        request.add_header("authorization", f"Bearer {bearer}")
    try:
        with urlopen(request, timeout=90) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def total(up: Up, metric: str, selector: str = "") -> float:
    """What an autoscaler adds up."""
    status, found = get(up, f"{BASE}/namespaces/any/{metric}?labelSelector={quote(selector)}")
    assert status == 200 and found["kind"] == "ExternalMetricValueList", found
    assert found["apiVersion"] == "external.metrics.k8s.io/v1beta1"
    for item in found["items"]:
        assert item["metricName"] == metric and set(item) == {"metricName", "metricLabels", "timestamp", "value"}
    values = [str(item["value"]) for item in found["items"]]
    return sum(float(value[:-1]) / 1000 if value.endswith("m") else float(value) for value in values)


def test_external_metrics(up: Up) -> None:
    """Discovery, values by label, and Status documents for what is not there."""
    submit(up, "plain", "", 3)
    submit(up, "far", "gpu, us", 2)
    until(lambda: total(up, "formicary_work") == 5, 20, "all of them are counted")
    assert total(up, "formicary_work", "tag=gpu") == 2 and total(up, "formicary_work", "!tag") == 3
    until(lambda: total(up, "formicary_backlog", "method=SHELL") == 4, 20, "one of them runs")
    assert total(up, "formicary_work") == 5
    assert total(up, "formicary_backlog", "tags=gpu.us,method in (SHELL)") == 2
    assert total(up, "resource_utilization_by_worker") == 1.0
    status, listed = get(up, BASE)
    assert status == 200 and listed["kind"] == "APIResourceList"
    assert {"formicary_work", "formicary_backlog"} <= {one["name"] for one in listed["resources"]}
    assert get(up, "/apis/external.metrics.k8s.io")[1]["kind"] == "APIGroup"
    status, refused = get(up, f"{BASE}/namespaces/any/nothing")
    assert (status, refused["kind"], refused["reason"]) == (404, "Status", "NotFound")
    status, refused = get(up, f"{BASE}/namespaces/any/formicary_work?labelSelector=a%20b")
    assert (status, refused["reason"]) == (400, "BadRequest")
    assert get(up, f"{BASE}/namespaces/any")[0] == 404


def test_external_metrics_ask_for_a_token_where_the_server_does(tmp_path: Path) -> None:
    """As `/metrics`."""
    server = Up(tmp_path / "data", "--ants", "0", "--auth", "token")
    try:
        bearer = token(server, "--role", "viewer", "--data", str(server.data))
        server.start()
        assert get(server, BASE)[0] == 401
        assert get(server, BASE, bearer)[0] == 200
    finally:
        server.clear()


def call(channel: grpc.Channel, method: str, request: Any, answer: Any) -> Any:
    """One unary call as any client makes it, by KEDA's names alone."""
    rpc = channel.unary_unary(
        f"/externalscaler.ExternalScaler/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return rpc(request, timeout=90)


def test_keda(up: Up) -> None:
    """Inactive without work, told on the stream when there is some; spec, values, refusals."""
    with grpc.insecure_channel(f"127.0.0.1:{up.scaler}") as channel:  # type: ignore[attr-defined]  # see above
        gpu = pb.ScaledObjectRef(
            name="ants", namespace="jobs", scalerMetadata={"tags": "gpu", "targetSize": "4", "scalerAddress": "x:1"}
        )
        assert not call(channel, "IsActive", gpu, pb.IsActiveResponse).result
        stream = channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=pb.IsActiveResponse.FromString,
        )(gpu, timeout=90)
        assert not next(stream).result
        submit(up, "plain", "", 2)
        submit(up, "far", "gpu", 9)
        assert next(stream).result
        stream.cancel()
        assert call(channel, "IsActive", gpu, pb.IsActiveResponse).result
        (spec,) = call(channel, "GetMetricSpec", gpu, pb.GetMetricSpecResponse).metricSpecs
        assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("formicary_work", 4, 4.0)
        asked = pb.GetMetricsRequest(scaledObjectRef=gpu, metricName="s0-formicary_work")
        (value,) = call(channel, "GetMetrics", asked, pb.GetMetricsResponse).metricValues
        assert (value.metricName, value.metricValue, value.metricValueFloat) == ("s0-formicary_work", 9, 9.0)
        wrong = pb.ScaledObjectRef(scalerMetadata={"targetSize": "many"})
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "GetMetricSpec", wrong, pb.GetMetricSpecResponse)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]  # every failed call has one
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "StreamMetricSpec", gpu, pb.GetMetricSpecResponse)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]  # KEDA then asks itself
