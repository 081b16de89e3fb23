"""The fields of containers and services, once: the reader, the JSON Schema and the reference read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerField:
    """One field.

    Attributes:
        doc: What it means.
        only: ``docker`` or ``kubernetes`` where the other has no use for it, ``service`` where only services have it.
    """

    doc: str
    only: str = ""


_FIELDS: Mapping[str, ContainerField] = {
    "name": ContainerField("Name in the network; default the alias, or made of the image.", "service"),
    "alias": ContainerField("Another name in the network.", "service"),
    "instances": ContainerField("How many of them, 1 to 100.", "service"),
    "ports": ContainerField("Ports: `6379`, `53/udp` or `{number, protocol, name}`.", "service"),
    "image": ContainerField("The image, with its tag or digest; needed."),
    "pull_policy": ContainerField("Always, IfNotPresent (the default) or Never."),
    "registry": ContainerField("Who pulls: username, password or token, server.", "docker"),
    "command": ContainerField("What the entry point gets."),
    "entrypoint": ContainerField("The program, instead of the image's own; a task's script comes before it."),
    "args": ContainerField("More of command."),
    "environment": ContainerField("Environment variables; those of the task come before them."),
    "user": ContainerField("User, or user:group."),
    "working_dir": ContainerField("Directory in the container; the task's comes before it."),
    "cpu_limit": ContainerField("Processors it may use: `2`, `500m`."),
    "cpu_request": ContainerField("Processors it should get."),
    "memory_limit": ContainerField("Memory it may use: `256Mi`, `1.5Gi`, `500M`."),
    "memory_request": ContainerField("Memory it should get."),
    "ephemeral_storage_limit": ContainerField("Disk it may use.", "kubernetes"),
    "ephemeral_storage_request": ContainerField("Disk it should get.", "kubernetes"),
    "resources": ContainerField("The same as `{limits: {cpu, memory, …}, requests: {…}}`."),
    "limits": ContainerField("The same, without `resources` around it."),
    "requests": ContainerField("The same."),
    "volumes": ContainerField(
        "A list of `SOURCE:/PATH:ro`, a mapping, or lists by type (empty_dir, host_path, pvc, …)."
    ),
    "volumes_from": ContainerField("Containers whose volumes it gets.", "docker"),
    "volume_driver": ContainerField("Read and not used."),
    "devices": ContainerField("Devices of the host: `HOST:CONTAINER:rwm`.", "docker"),
    "bind_dir": ContainerField("Read and not used."),
    "privileged": ContainerField("Whether it is privileged."),
    "hostname": ContainerField("Its host name."),
    "network_mode": ContainerField("Its network; the task's comes before it.", "docker"),
    "platform": ContainerField("Read and not used."),
    "service_account": ContainerField("Account of the pod.", "kubernetes"),
    "env_from": ContainerField("Variables from config maps and secrets.", "kubernetes"),
    "env_value_from": ContainerField("Variables from fields of the pod.", "kubernetes"),
}
SERVICE_FIELDS: Mapping[str, ContainerField] = _FIELDS
"""Fields of a service."""

CONTAINER_FIELDS: Mapping[str, ContainerField] = {n: f for n, f in _FIELDS.items() if f.only != "service"}
"""Fields of ``container`` and ``helper``."""
