"""What Kubernetes and KEDA may ask: label selectors, wishes, quantities."""

from __future__ import annotations

from collections import Counter

import pytest

from formicary.engine.queen.census import Backlog
from formicary.server.scaling.external_metrics import quantity
from formicary.server.scaling.selector import parse_selector
from formicary.server.scaling.work import Wish, WrongWish, read_wish
from formicary.v1 import external_scaler_pb2 as pb

BACKLOG: Backlog = Counter(
    {("SHELL", frozenset()): 5, ("SHELL", frozenset({"gpu", "eu"})): 3, ("PYTHON", frozenset({"gpu"})): 2}
)
RUNNING: Backlog = Counter({("SHELL", frozenset({"gpu"})): 4, ("", frozenset()): 1})
LABELS = {"method": frozenset({"SHELL"}), "tag": frozenset({"gpu", "eu"}), "tags": frozenset({"eu.gpu"})}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("method=SHELL", True),
        ("method==SHELL,tag=gpu", True),
        ("method = PYTHON", False),
        ("method!=PYTHON", True),
        ("tag in (us, eu)", True),
        ("tag notin (us)", True),
        ("tag notin (us,gpu)", False),
        ("tag, !queue", True),
        ("!tag", False),
        ("tags=eu.gpu", True),
        ("queue=", True),
    ],
)
def test_label_selectors(text: str, expected: bool) -> None:
    """Equality, sets, existence, all of them together."""
    assert parse_selector(text)(LABELS) is expected


@pytest.mark.parametrize("text", ["method=", "a b", "a in b", "=x", "a in (b", "a=b;c=d"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    """With the part that is none."""
    if text == "method=":
        assert not parse_selector(text)(LABELS)
        return
    with pytest.raises(ValueError, match="no label selector"):
        parse_selector(text)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 15),
        ({"running": "false"}, 10),
        ({"method": "shell"}, 13),
        ({"method": "PYTHON", "running": "false"}, 2),
        ({"tags": "gpu"}, 9),
        ({"tags": "GPU, eu"}, 3),
        ({"without": "gpu"}, 6),
        ({"tags": "gpu", "without": "eu", "method": "SHELL"}, 4),
    ],
)
def test_work_is_counted_by_what_it_needs(given: dict[str, str], expected: int) -> None:
    """What waits and what runs; jobs whose method is not known yet count for every one."""
    assert read_wish(given).of(BACKLOG, RUNNING) == expected


def test_a_wish_names_all_that_is_wrong() -> None:
    """And leaves names of KEDA itself alone."""
    assert read_wish({"scalerAddress": "x:1", "targetSize": "2.5"}) == Wish(target=2.5)
    with pytest.raises(WrongWish, match=r"running.*targetSize.*|targetSize.*running"):
        read_wish({"targetSize": "0", "running": "perhaps"})


def test_quantities() -> None:
    """As Kubernetes reads them."""
    assert [quantity(value) for value in (0.0, 42.0, 0.5, 1.2345)] == ["0", "42", "500m", "1234m"]


KEDA = {
    "ScaledObjectRef": ["1 name string", "2 namespace string", "3 scalerMetadata message"],
    "IsActiveResponse": ["1 result bool"],
    "GetMetricSpecResponse": ["1 metricSpecs message"],
    "MetricSpec": ["1 metricName string", "2 targetSize int64", "3 targetSizeFloat double"],
    "GetMetricsRequest": ["1 scaledObjectRef message", "2 metricName string"],
    "GetMetricsResponse": ["1 metricValues message"],
    "MetricValue": ["1 metricName string", "2 metricValue int64", "3 metricValueFloat double"],
}
"""Fields of KEDA's published contract, pkg/scalers/externalscaler/externalscaler.proto."""
CALLS = {
    "IsActive": ("ScaledObjectRef", "IsActiveResponse", False),
    "StreamIsActive": ("ScaledObjectRef", "IsActiveResponse", True),
    "GetMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", False),
    "GetMetrics": ("GetMetricsRequest", "GetMetricsResponse", False),
}


def test_the_contract_is_kedas() -> None:
    """Names, numbers and types as KEDA has them: it finds them by these alone."""
    kinds = {1: "double", 3: "int64", 8: "bool", 9: "string", 11: "message"}
    described = pb.DESCRIPTOR
    assert described.package == "externalscaler"
    found = {
        name: [f"{field.number} {field.name} {kinds[field.type]}" for field in message.fields]
        for name, message in described.message_types_by_name.items()
    }
    assert found == KEDA
    service = described.services_by_name["ExternalScaler"]
    calls = {
        method.name: (method.input_type.name, method.output_type.name, method.server_streaming)
        for method in service.methods
    }
    assert calls == CALLS
