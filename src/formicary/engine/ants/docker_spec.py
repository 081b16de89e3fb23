"""From a task to what the Docker Engine is asked for: containers, their limits, volumes and script.

What reaches beyond the container is refused unless the ant's operator allows it: folders of the host and named volumes
by name, ``privileged``, ``host_network``, ``devices`` and other networks by word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from formicary.engine.jobs.model import TaskDefinition

Json = object
PRIVILEGED, HOST_NETWORK, DEVICES, NETWORKS = "privileged", "host_network", "devices", "networks"
WORDS = (PRIVILEGED, HOST_NETWORK, DEVICES, NETWORKS)
WORK = "/formicary"
"""Working directory of a task with files that names none."""
_LOG_BYTES = "16m"
SCRIPT = """
code=0 stop= pid=
trap 'stop=1; [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null' TERM INT
n=$1; shift
while [ "$n" -gt 0 ]; do
  if [ "$code" -eq 0 ] && [ -z "$stop" ]; then
    /bin/sh -c "$1" & pid=$!
    wait "$pid"; code=$?
    while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done
    pid=
  fi
  shift; n=$((n - 1))
done
trap - TERM INT
for line; do /bin/sh -c "$line" || echo "after_script: exit code $?" >&2; done
exit "$code"
"""
"""Runs each line in a shell of its own until one fails, or SIGTERM comes; then the lines of after_script."""


class NotAllowedError(Exception):
    """The task asks for what this ant does not do; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What containers may have beside themselves.

    Attributes:
        volumes: Folders of the host (with what is in them) and names of volumes.
        words: Of :data:`WORDS`.
    """

    volumes: tuple[str, ...] = ()
    words: frozenset[str] = field(default_factory=frozenset)

    def check(self, word: str, what: str) -> None:
        """Raises NotAllowedError where the word is not allowed."""
        if word not in self.words:
            raise NotAllowedError(f"This ant does not allow {what}: FORMICARY_DOCKER_ALLOW has to name {word}.")

    def volume(self, source: str) -> None:
        """Raises NotAllowedError where a folder or volume is not allowed."""
        path = os.path.realpath(source) if source.startswith("/") else source
        for one in self.volumes:
            root = os.path.realpath(one) if one.startswith("/") else one
            if path == root or (root.startswith("/") and path.startswith(root.rstrip("/") + "/")):
                return
        raise NotAllowedError(f"This ant does not allow the volume {source}: FORMICARY_DOCKER_VOLUMES has to name it.")


def main_container(
    task: TaskDefinition, environment: Mapping[str, str], labels: Mapping[str, str], network: str, allowed: Allowed
) -> dict[str, Json]:
    """The body of ``/containers/create`` for the task itself.

    Args:
        task: The task; its container names an image.
        environment: All of it.
        labels: To find the container by.
        network: Of the services, empty = as the task says.
        allowed: What it may have.

    Raises:
        NotAllowedError: It asks for more.
    """
    container = task.container or {}
    body = _container(container, labels, allowed)
    host = body["HostConfig"]
    assert isinstance(host, dict), "it has been made as one"
    body["Env"] = [f"{name}={value}" for name, value in {**_environment(container), **environment}.items()]
    lines = (*task.before_script, *task.script)
    if lines or task.after_script:
        body["Entrypoint"] = ["/bin/sh", "-c", SCRIPT, "formicary"]
        body["Cmd"] = [str(len(lines)), *lines, *task.after_script]
    working_dir = task.working_dir or _text(container, "working_dir")
    if working_dir:
        body["WorkingDir"] = working_dir
    if task.privileged:
        allowed.check(PRIVILEGED, "privileged containers")
        host["Privileged"] = True
    host["NetworkMode"] = network or _network(task, container, allowed)
    if network and (task.host_network or task.network_mode not in (None, "", "bridge", "default")):
        raise NotAllowedError("A task with services has a network of its own; remove host_network and network_mode.")
    return body


def service_container(
    service: Mapping[str, Json], labels: Mapping[str, str], network: str, allowed: Allowed
) -> dict[str, Json]:
    """The same for a container beside it. Raises NotAllowedError."""
    body = _container(service, labels, allowed)
    host = body["HostConfig"]
    assert isinstance(host, dict), "it has been made as one"
    body["Env"] = [f"{name}={value}" for name, value in _environment(service).items()]
    if working_dir := _text(service, "working_dir"):
        body["WorkingDir"] = working_dir
    host["NetworkMode"] = network
    names = list(dict.fromkeys(filter(None, (_text(service, "name"), _text(service, "alias")))))
    body["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": names}}}
    return body


def _container(container: Mapping[str, Json], labels: Mapping[str, str], allowed: Allowed) -> dict[str, Json]:
    body: dict[str, Json] = {"Image": _text(container, "image"), "Labels": dict(labels), "Tty": False}
    if entrypoint := _texts(container.get("entrypoint")):
        body["Entrypoint"] = entrypoint
    if command := _texts(container.get("command")) + _texts(container.get("args")):
        body["Cmd"] = command
    for name, theirs in (("user", "User"), ("hostname", "Hostname")):
        if text := _text(container, name):
            body[theirs] = text
    host: dict[str, Json] = {
        "Init": True,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_BYTES, "max-file": "2"}},
        "Mounts": [_mount(volume, allowed) for volume in _mappings(container.get("volumes"))],
        **_limits(container),
    }
    if devices := _texts(container.get("devices")):
        allowed.check(DEVICES, "devices of the host")
        host["Devices"] = [_device(device) for device in devices]
    if others := _texts(container.get("volumes_from")):
        for other in others:
            allowed.volume(other.partition(":")[0])
        host["VolumesFrom"] = others
    if container.get("privileged") is True:
        allowed.check(PRIVILEGED, "privileged containers")
        host["Privileged"] = True
    body["HostConfig"] = host
    return body


def _limits(container: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, theirs, factor in (
        ("cpu_limit_cores", "NanoCpus", 1e9),
        ("cpu_request_cores", "CpuShares", 1024.0),
        ("memory_limit_bytes", "Memory", 1.0),
        ("memory_request_bytes", "MemoryReservation", 1.0),
    ):
        value = container.get(name)
        if isinstance(value, int | float):
            found[theirs] = max(int(value * factor), 2 if theirs == "CpuShares" else 1)
    if "Memory" in found:
        found["MemorySwap"] = found["Memory"]  # or the limit would be twice as large
    return found


def _mount(volume: Mapping[str, Json], allowed: Allowed) -> dict[str, Json]:
    kind, target = _text(volume, "type"), _text(volume, "mount_path")
    mount: dict[str, Json] = {"Target": target, "ReadOnly": volume.get("read_only") is True}
    if kind == "bind":
        source = _text(volume, "host_path")
        if not source.startswith("/"):
            raise NotAllowedError(f"The volume {source or target} names no absolute folder of the host.")
        allowed.volume(source)
        return {**mount, "Type": "bind", "Source": os.path.normpath(source)}
    if kind == "volume":
        if name := _text(volume, "name"):
            allowed.volume(name)
        return {**mount, "Type": "volume", **({"Source": name} if name else {})}
    if kind in ("empty_dir", "tmpfs"):
        return {**mount, "Type": "volume" if kind == "empty_dir" else "tmpfs"}
    raise NotAllowedError(f"Volumes of the type {kind} exist with KUBERNETES only; {target} cannot be had here.")


def _network(task: TaskDefinition, container: Mapping[str, Json], allowed: Allowed) -> str:
    mode = "host" if task.host_network else task.network_mode or _text(container, "network_mode") or "bridge"
    if mode == "host":
        allowed.check(HOST_NETWORK, "the network of the host")
    elif mode not in ("bridge", "default", "none"):
        allowed.check(NETWORKS, f"the network {mode}")
    return mode


def _device(text: str) -> dict[str, Json]:
    host, _, rest = text.partition(":")
    inside, _, rights = rest.partition(":")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": rights or "rwm"}


def _text(fields: Mapping[str, Json], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value)


def _texts(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)] if value else []


def _mappings(value: Json) -> Iterable[Mapping[str, Json]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list | tuple) else []


def _environment(container: Mapping[str, Json]) -> dict[str, str]:
    found = container.get("environment")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
