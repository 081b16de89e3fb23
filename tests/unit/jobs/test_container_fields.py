"""Fields of containers and pods come out in one form, however they are written; mistakes have line and column."""

from __future__ import annotations

from textwrap import indent

import pytest

from formicary.engine.jobs.model import TaskDefinition, task_from_json, task_to_json
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.quantities import parse_bytes, parse_cores


def source(fields: str) -> str:
    return f"job_type: j\ntasks:\n- task_type: t\n  method: KUBERNETES\n{indent(fields.strip(chr(10)), '  ')}\n"


def task(fields: str) -> TaskDefinition:
    (parsed,) = parse_source(source(fields))
    assert [v for v in parsed.violations if v.code != "NOT_AVAILABLE"] == []
    assert parsed.definition is not None
    found = parsed.definition.tasks[0]
    assert task_from_json(task_to_json(found)) == found or found.tolerations or found.services  # tuples become lists
    return found


LIMITS = {
    "image": "a",
    "cpu_limit_cores": 1.0,
    "cpu_request_cores": 0.25,
    "memory_limit_bytes": 256 * 2**20,
    "memory_request_bytes": 64 * 2**20,
}


@pytest.mark.parametrize(
    "fields",
    [
        'container: {image: a, cpu_limit: "1", cpu_request: 250m, memory_limit: 256Mi, memory_request: 64Mi}',
        "container: {image: a, cpuLimit: 1, cpuRequest: 0.25, memoryLimit: 256Mi, memoryRequest: 67108864}",
        "container: {image: a, limits: {cpu: 1, memory: 256Mi}, requests: {cpu: 250m, memory: 64Mi}}",
        "container: {image: a, resources: {limits: {cpu: 1, memory: 256Mi}, requests: {cpu: 250m, memory: 64Mi}}}",
        "container: {image: a, resources: {cpu_limit: 1, cpu_request: .25, memoryLimit: 256Mi, memory_request: 64Mi}}",
    ],
)
def test_limits_are_cores_and_bytes_in_every_form(fields: str) -> None:
    assert task(fields).container == LIMITS


@pytest.mark.parametrize(
    ("text", "cores"), [("2", 2.0), ("250m", 0.25), (0.5, 0.5), ("1.5", 1.5), ("1e2", 100.0), (3, 3.0)]
)
def test_cores(text: object, cores: float) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    ("text", "size"),
    [("64Mi", 2**26), ("1.5Gi", 3 * 2**29), ("500M", 500_000_000), ("2g", 2**31), ("1024", 1024), (1, 1), ("1e3", 1000),
     ("512MB", 2**29), ("1k", 1000), ("100m", 1)],
)  # fmt: skip
def test_bytes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "1 core", "-1", "0", "nan", "1e999", True, None, "5Q", [1]])
def test_what_is_no_quantity(text: object) -> None:
    for parse in (parse_cores, parse_bytes):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


def test_volumes_in_the_form_of_docker() -> None:
    bind = {"type": "bind", "host_path": "/src", "mount_path": "/work", "read_only": True}
    named = {"type": "volume", "name": "data", "mount_path": "/data", "read_only": False}
    fields = "container: {image: a, volumes: [/src:/work:ro, data:/data, /anonymous]}"
    expected = [bind, named, {"type": "volume", "mount_path": "/anonymous", "read_only": False}]
    assert (task(fields).container or {})["volumes"] == expected
    fields = "container: {image: a, volumes: {/src: '/work:ro', data: /data, /anonymous: {}}}"
    assert (task(fields).container or {})["volumes"] == expected
    fields = "container: {image: a, volumes: [{type: bind, source: /src, target: /work, readOnly: true}]}"
    assert (task(fields).container or {})["volumes"] == [bind]


def test_volumes_in_the_form_of_kubernetes() -> None:
    fields = """
container:
  image: a
  volumes:
    empty_dir: [{name: scratch, mount_path: /scratch}]
    hostPath: {name: tools, host_path: /opt, mountPath: /tools}
    persistentVolumeClaim: [{name: data, mount_path: /data}]
    config_map: [{name: settings, mount_path: /etc/x, items: {a: b}}]
"""
    assert (task(fields).container or {})["volumes"] == [
        {"type": "empty_dir", "name": "scratch", "mount_path": "/scratch", "read_only": False},
        {"type": "bind", "name": "tools", "host_path": "/opt", "mount_path": "/tools", "read_only": False},
        {"type": "pvc", "name": "data", "mount_path": "/data", "read_only": False},
        {"type": "config_map", "name": "settings", "mount_path": "/etc/x", "items": {"a": "b"}, "read_only": False},
    ]


def test_services_have_names_ports_and_what_containers_have() -> None:
    found = task(
        """
services:
- {name: db, image: "postgres:16", ports: [5432, 53/udp, {number: 80, name: web}], env: [A=1, {name: B, value: 2}]}
- docker.io/library/redis:7
- {alias: cache, image: memcached, instances: 2, entrypoint: /run, imagePullPolicy: Always}
"""
    )
    assert list(found.services) == [
        {
            "name": "db",
            "image": "postgres:16",
            "ports": [
                {"number": 5432, "protocol": "tcp"},
                {"number": 53, "protocol": "udp"},
                {"number": 80, "protocol": "tcp", "name": "web"},
            ],
            "environment": {"A": "1", "B": "2"},
        },
        {"image": "docker.io/library/redis:7", "name": "redis"},
        {
            "alias": "cache",
            "image": "memcached",
            "instances": 2,
            "entrypoint": ["/run"],
            "pull_policy": "always",
            "name": "cache",
        },
    ]


DEDICATED = {"key": "dedicated", "operator": "Equal", "value": "reports", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    "fields",
    [
        'node_tolerations: {"dedicated=reports": NoSchedule}',
        'tolerations: {"dedicated=reports": no_schedule}',
        "tolerations: [{key: dedicated, operator: Equal, value: reports, effect: NoSchedule}]",
        "nodeTolerations: [{key: dedicated, value: reports, effect: NoSchedule}]",
    ],
)
def test_tolerations_in_every_form(fields: str) -> None:
    assert list(task(fields).tolerations) == [DEDICATED]


def test_both_fields_of_tolerations_count() -> None:
    found = task('node_tolerations: {"dedicated=reports": NoSchedule}\ntolerations: [{key: gpu, tolerationSeconds: 5}]')
    assert list(found.tolerations) == [DEDICATED, {"key": "gpu", "toleration_seconds": 5, "operator": "Exists"}]


TERMS = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
    }
}


@pytest.mark.parametrize(
    "fields",
    [
        """
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [ssd]}]}]
""",
        """
affinity:
  node_affinity:
    required_during_scheduling_ignored_during_execution:
      node_selector_terms: [{match_expressions: [{key: disk, operator: In, values: [ssd]}]}]
""",
        """
affinity:
  required_during_scheduling_ignored_during_execution:
    node_selector_terms: [{match_expressions: [{key: disk, operator: In, values: [ssd]}]}]
""",
    ],
)
def test_affinity_in_every_form(fields: str) -> None:
    assert task(fields).affinity == {"nodeAffinity": TERMS}


def test_labels_in_an_affinity_keep_their_names() -> None:
    found = task(
        """
affinity:
  pod_affinity:
    preferred_during_scheduling_ignored_during_execution:
    - weight: 5
      pod_affinity_term: {topology_key: zone, label_selector: {match_labels: {app_name: x_y}}}
"""
    )
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app_name": "x_y"}}}
    expected = [{"weight": 5, "podAffinityTerm": term}]
    assert found.affinity == {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": expected}}


@pytest.mark.parametrize(
    ("fields", "line", "column", "code", "text"),
    [
        ("container: {image: a, cpu_limit: many}", 5, 36, "BAD_QUANTITY", "500m or 2"),
        ("container: {image: a, memory_limit: 5Q}", 5, 39, "BAD_QUANTITY", "unit Q is unknown"),
        ("container:\n  cpu_limit: 1\n  cpu_request: 2", 6, 5, "OUT_OF_RANGE", "lower the request"),
        ("container: {image: a, pull_policy: sometimes}", 5, 38, "BAD_VALUE", "IfNotPresent"),
        ("container: {image: a, volumes: [a:b:c]}", 5, 35, "BAD_VALUE", "SOURCE:/PATH"),
        ("container: {image: a, volumes: [{name: x}]}", 5, 35, "MISSING_FIELD", "mount_path"),
        ("container: {imag: a}", 5, 15, "UNKNOWN_FIELD", "Did you mean image?"),
        ("container: [a]", 5, 14, "WRONG_TYPE", "a mapping with an image"),
        ("services: [{name: db}]", 5, 14, "MISSING_FIELD", "image"),
        ("services: [{image: a, name: x}, {image: b, name: x}]", 5, 35, "DUPLICATE_KEY", "rename one"),
        ("services: [{image: a, ports: [70000]}]", 5, 33, "BAD_VALUE", "6379"),
        ("services: [{image: a, instances: 0}]", 5, 36, "OUT_OF_RANGE", "1 to 100"),
        ('node_tolerations: {"a=b": Never}', 5, 29, "BAD_VALUE", "NoExecute"),
        ("tolerations: [{key: a, operator: Exists, value: b}]", 5, 17, "BAD_VALUE", "write Equal"),
        ("tolerations: [{key: a, operator: Same}]", 5, 36, "BAD_VALUE", "Exists or Equal"),
        ("tolerations: [{key: a, tolerationSeconds: x}]", 5, 45, "WRONG_TYPE", "whole number"),
        ("affinity: {nodeAffinty: {}}", 5, 14, "UNKNOWN_FIELD", "Did you mean nodeAffinity?"),
        ("affinity: {nodeAffinity: {x: [{key: a, operator: in}]}}", 5, 52, "BAD_VALUE", "NotIn"),
        ("affinity: {nodeAffinity: {x: [{key: a, operator: In}]}}", 5, 52, "BAD_VALUE", "need values"),
        ("affinity: {nodeAffinity: {x: [{key: a, operator: Exists, values: [b]}]}}", 5, 52, "BAD_VALUE", "take none"),
        ("affinity: {podAffinity: {x: [{weight: 0}]}}", 5, 41, "OUT_OF_RANGE", "1 to 100"),
    ],
)
def test_mistakes_have_their_place(fields: str, line: int, column: int, code: str, text: str) -> None:
    (parsed,) = parse_source(source(fields))
    found = [v for v in parsed.violations if v.is_error]
    assert [(v.line, v.column, v.code) for v in found] == [(line, column, code)]
    assert text in found[0].message


def test_templates_wait_for_their_values() -> None:
    fields = """
container: {image: "{{.Image}}", cpu_limit: "{{.Cpu}}", memory_limit: '{{.Memory}}', pull_policy: "{{.Policy}}"}
tolerations: [{key: "{{.Key}}", effect: "{{.Effect}}"}]
affinity: {nodeAffinity: {x: [{key: a, operator: In, values: "{{.Values}}"}]}}
services: [{image: "{{.Image}}", ports: ["{{.Port}}"]}]
"""
    found = task(fields)
    assert found.container == {"image": "{{.Image}}"} and not found.is_static
    assert found.tolerations == ({"key": "{{.Key}}", "operator": "Exists"},)


SHELL = "job_type: j\ntasks:\n- task_type: a\n  script: x\n  affinity:\n"
TERM = "    podAntiAffinity:\n      requiredDuringSchedulingIgnoredDuringExecution:\n      - "
PREFERS = "    podAffinity:\n      preferredDuringSchedulingIgnoredDuringExecution:\n      - "


@pytest.mark.parametrize(
    ("text", "line", "column", "code", "told"),
    [
        (TERM + "labelSelector: {matchLabels: {a: b}}", 8, 9, "MISSING_FIELD", "add 'topologyKey: LABEL'"),
        (TERM + "topologyKey: ''\n        labelSelector: {matchLabels: {a: b}}", 8, 22, "MISSING_FIELD", "topologyKey"),
        (TERM + "topologyKey: zone", 8, 9, "MISSING_FIELD", "selects no tasks"),
        (TERM + "{topologyKey: zone, labelSelector: {}}", 8, 44, "MISSING_FIELD", "selects no tasks"),
        (TERM + "{topology_key: zone, label_selector: {match_labels: {}}}", 8, 46, "MISSING_FIELD", "selects no tasks"),
        (
            TERM + "{topologyKey: z, labelSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}",
            8,
            80,
            "BAD_VALUE",
            "Write one of In, NotIn",
        ),
        (
            TERM + "{topologyKey: z, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: [1]}]}}",
            8,
            80,
            "BAD_VALUE",
            "In, NotIn, Exists, DoesNotExist",
        ),
        (
            TERM + "{topologyKey: z, labelSelector: {matchExpressions: [{operator: Exists}]}}",
            8,
            61,
            "MISSING_FIELD",
            "key and an operator",
        ),
        (
            TERM + "{topologyKey: z, labelSelector: {matchLabels: {a: b}}, namespaces: [x]}",
            8,
            76,
            "BAD_VALUE",
            "own organisation",
        ),
        (TERM + "{topologyKy: z, topologyKey: z, matchLabelKeys: [a]}", 8, 10, "UNKNOWN_FIELD", "topologyKey?"),
        (TERM[:-2] + "  {topologyKey: z}", 8, 9, "WRONG_TYPE", "a list of terms"),
        (TERM + "text", 8, 9, "WRONG_TYPE", "a mapping"),
        (PREFERS + "weight: 5", 8, 9, "MISSING_FIELD", "podAffinityTerm"),
        (PREFERS + "podAffinityTerm: {topologyKey: z, matchLabelKeys: [a]}", 8, 9, "MISSING_FIELD", "weight"),
        (
            PREFERS + "{weight: 101, podAffinityTerm: {topologyKey: z, matchLabelKeys: [a]}}",
            8,
            18,
            "OUT_OF_RANGE",
            "100",
        ),
        ("    podAffinity: zone", 6, 18, "WRONG_TYPE", "a mapping of required"),
        (
            "    nodeAffinity:\n      requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}",
            7,
            76,
            "MISSING_FIELD",
            "fits no ant",
        ),
        (
            "    nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: "
            "{matchExpressions: [{key: a, operator: Gt, values: [x]}]}}]}",
            6,
            133,
            "BAD_VALUE",
            "one whole number",
        ),
    ],
)
def test_mistakes_in_an_affinity_have_their_place(text: str, line: int, column: int, code: str, told: str) -> None:
    (parsed,) = parse_source(SHELL + text + "\n")
    found = [v for v in parsed.violations if v.is_error]
    assert [(v.line, v.column, v.code) for v in found] == [(line, column, code)]
    assert told in found[0].message


def test_what_pods_of_a_cluster_may_say_beyond_it() -> None:
    """Other namespaces and an empty selector mean something in a cluster."""
    term = "{topologyKey: z, labelSelector: {}, namespaceSelector: {}}"
    fields = f"affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"
    assert task(f"container: {{image: a}}\n{fields}").affinity is not None


def test_affinity_alone_makes_no_pod_of_a_task() -> None:
    (parsed,) = parse_source(SHELL + TERM + "{topologyKey: zone, matchLabelKeys: [job_id]}\n")
    assert parsed.definition is not None and parsed.definition.tasks[0].method == "SHELL"


def test_the_affinity_of_a_pod_is_nothing_to_the_method_that_stands_in_for_it() -> None:
    text = (
        SHELL.replace("script: x", "script: x\n  container: {image: a}") + TERM + "{topologyKey: z, labelSelector: {}}"
    )
    (parsed,) = parse_source(text + "\n", methods={"KUBERNETES": "SHELL"})
    assert parsed.definition is not None and parsed.definition.tasks[0].affinity is None
