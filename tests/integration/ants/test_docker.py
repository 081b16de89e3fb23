"""DOCKER tasks against docker_engine.py, which speaks the Engine's API; in real containers: test_docker_real.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.docker import process_mark
from formicary.engine.ants.docker_api import DockerApi, DockerError, Frames
from formicary.engine.ants.offers import docker_certificates_here, docker_here, methods_here
from formicary.engine.jobs.model import TaskDefinition
from formicary.problems import Problem
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.docker_engine import Engine, docker_engine
from tests.integration.ants.fake_queen import colony, shell
from tests.integration.ants.loop import in_loop

METHODS = frozenset({"SHELL", "DOCKER"})


def config(engine: Engine, **fields: Any) -> AntConfig:
    return AntConfig("ant-1", slots=2, methods=METHODS, docker=engine.address, kill_grace_s=1.0, **fields)


def run(*lines: str, container: dict[str, Any] | None = None, **fields: Any) -> TaskDefinition:
    made = {"image": "alpine:3.20", **(container or {})}
    return TaskDefinition(task_type="t", method="DOCKER", script=lines, container=made, **fields)


@in_loop
async def test_a_script_runs_in_a_container_and_nothing_is_left(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        task = run(
            'echo "hello $name from $PLACE"',
            "echo oops >&2; X=1",
            'echo "::set-output name=x::${X:-none}"',
            before_script=("echo before",),
            after_script=("echo after", "false"),
            environment={"PLACE": "here"},
            container={"environment": {"PLACE": "there", "OWN": "1"}},
        )
        result = await queen.run(task, variables={"name": "Ada"})
        assert (result.outcome, result.exit_code) == (TaskResult.COMPLETED, 0)
        assert [line for line in queen.text(result.token) if not line.startswith("::")] == [
            "before", "hello Ada from here", "after"
        ]  # fmt: skip
        assert queen.text(result.token, 2) == ["oops", "after_script: exit code 1"]
        assert queen.outputs(result.token) == {"x": "none"}  # each line has a shell of its own
        assert not engine.containers and not engine.networks
        (body,) = engine.made
        assert {"OWN=1", "PLACE=here", f"FORMICARY_TASK_KEY=job{result.token}/1/t"} <= set(body["Env"])
        assert not any(pair.startswith("HOME=") for pair in body["Env"])  # nothing of the ant's own
        assert body["HostConfig"]["Init"] is True and body["HostConfig"]["NetworkMode"] == "bridge"
        assert engine.asked[-1].path.startswith("/v1.44/")  # the older of both


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        (("exit 7", "echo never"), 7, "exit code 7"),
        (("kill -9 $$",), 137, "exit code 137"),
        (("nosuchprogram",), 127, "exit code 127"),
    ],
)
@in_loop
async def test_the_first_line_that_fails_is_the_exit_code(
    tmp_path: Path, lines: tuple[str, ...], code: int, text: str
) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        result = await queen.run(run(*lines))
        assert (result.outcome, result.error_code, result.exit_code) == (TaskResult.FAILED, "ERR_EXIT_CODE", code)
        assert text in result.error_message and queen.text(result.token) == []


@in_loop
async def test_an_image_runs_by_itself_where_there_is_no_script(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        own = run(container={"entrypoint": ["/bin/echo"], "command": ["a"], "args": ["b"]})
        result = await queen.run(own)
        assert queen.text(result.token) == ["a b"]
        result = await queen.run(run(container={"entrypoint": ["/no/such"]}))
        assert (result.error_code, engine.containers) == ("ERR_DOCKER", {})
        assert "No such file" in result.error_message


@in_loop
async def test_limits_and_the_rest_reach_the_engine(tmp_path: Path) -> None:
    volumes = [
        {"type": "bind", "host_path": str(tmp_path), "mount_path": "/h", "read_only": True},
        {"type": "volume", "name": "data", "mount_path": "/data", "read_only": False},
        {"type": "empty_dir", "mount_path": "/e", "read_only": False},
        {"type": "tmpfs", "mount_path": "/t", "read_only": False},
    ]
    container = {
        "cpu_limit_cores": 1.5,
        "cpu_request_cores": 0.25,
        "memory_limit_bytes": 2**28,
        "memory_request_bytes": 2**26,
        "user": "1000",
        "volumes": volumes,
        "devices": ["/dev/fuse:/dev/x:r"],
        "volumes_from": ["base:ro"],
    }
    words = frozenset({"privileged", "host_network", "devices"})
    async with docker_engine(tmp_path) as engine:
        allowing = config(engine, docker_volumes=(str(tmp_path), "data", "base"), docker_allow=words)
        async with colony(config=allowing) as (queen, _):
            task = run("true", container=container, privileged=True, host_network=True, working_dir="/work")
            assert (await queen.run(task)).outcome == TaskResult.COMPLETED
        (body,) = engine.made
        host = body["HostConfig"]
        assert (host["NanoCpus"], host["CpuShares"]) == (1_500_000_000, 256)
        assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (2**28, 2**28, 2**26)
        assert (body["User"], body["WorkingDir"], host["Privileged"]) == ("1000", "/work", True)
        assert (host["NetworkMode"], host["VolumesFrom"]) == ("host", ["base:ro"])
        device = {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}
        assert host["Devices"] == [device]
        assert host["Mounts"] == [
            {"Target": "/h", "ReadOnly": True, "Type": "bind", "Source": str(tmp_path)},
            {"Target": "/data", "ReadOnly": False, "Type": "volume", "Source": "data"},
            {"Target": "/e", "ReadOnly": False, "Type": "volume"},
            {"Target": "/t", "ReadOnly": False, "Type": "tmpfs"},
        ]


def bind(path: str) -> dict[str, Any]:
    return {"volumes": [{"type": "bind", "host_path": path, "mount_path": "/h", "read_only": False}]}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"privileged": True}, "FORMICARY_DOCKER_ALLOW has to name privileged"),
        ({"container": {"privileged": True}}, "has to name privileged"),
        ({"services": ({"name": "d", "image": "a", "privileged": True},)}, "has to name privileged"),
        ({"host_network": True}, "has to name host_network"),
        ({"network_mode": "container:other"}, "has to name networks"),
        ({"container": {"devices": ["/dev/sda"]}}, "has to name devices"),
        ({"container": bind("/etc")}, "does not allow the volume /etc"),
        ({"container": bind("{allowed}/../etc")}, "does not allow the volume"),
        ({"container": bind("{allowed}-not")}, "does not allow the volume"),
        ({"container": bind("{allowed}/link")}, "does not allow the volume"),
        ({"container": bind("relative")}, "no absolute folder"),
        (
            {"container": {"volumes": [{"type": "volume", "name": "x", "mount_path": "/x"}]}},
            "does not allow the volume x",
        ),
        ({"container": {"volumes": [{"type": "pvc", "name": "x", "mount_path": "/x"}]}}, "KUBERNETES only"),
        ({"container": {"volumes_from": ["other"]}}, "does not allow the volume other"),
        ({"container": {"image": ""}}, "needs an image"),
    ],
)
@in_loop
async def test_what_the_operator_has_not_allowed_is_refused(tmp_path: Path, fields: dict[str, Any], text: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to("/etc")
    fields = json.loads(json.dumps(fields).replace("{allowed}", str(allowed)))
    async with docker_engine(tmp_path) as engine:
        async with colony(config=config(engine, docker_volumes=(str(allowed),))) as (queen, _):
            result = await queen.run(run("true", **fields))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_VALIDATION")
        assert text in result.error_message and not engine.made


# images


@in_loop
async def test_images_are_pulled_as_the_policy_says(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        for policy, pulls in (("if_not_present", 1), ("if_not_present", 1), ("always", 2), ("never", 2)):
            result = await queen.run(run("true", container={"image": "busybox:latest", "pull_policy": policy}))
            assert result.outcome == TaskResult.COMPLETED, result
            assert len(engine.calls("POST /images/create")) == pulls
        assert engine.calls("POST /images/create")[0].query == {"fromImage": "busybox", "tag": "latest"}
        result = await queen.run(run("true", container={"image": "absent", "pull_policy": "never"}))
        assert (result.error_code, "pull_policy is Never" in result.error_message) == ("ERR_DOCKER", True)
        result = await queen.run(run("true", container={"image": "host:5000/absent"}))
        assert result.error_code == "ERR_DOCKER" and "manifest unknown" in result.error_message
        assert engine.calls("POST /images/create")[-1].query == {"fromImage": "host:5000/absent", "tag": "latest"}
        result = await queen.run(run("true", container={"image": "a@sha256:00"}))
        assert engine.calls("POST /images/create")[-1].query == {"fromImage": "a@sha256:00"}


@in_loop
async def test_who_pulls_is_said_to_the_registry(tmp_path: Path) -> None:
    registry = {"username": "me", "password": "hunter22", "server": "registry.example"}
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        result = await queen.run(run("true", container={"image": "private/tool:1", "registry": registry}))
        assert result.outcome == TaskResult.COMPLETED
        (pull,) = engine.calls("POST /images/create")
        assert json.loads(base64.urlsafe_b64decode(pull.headers["x-registry-auth"])) == {
            "username": "me", "password": "hunter22", "serveraddress": "registry.example"
        }  # fmt: skip


# services


@in_loop
async def test_services_run_beside_it_in_a_network_of_their_own(tmp_path: Path) -> None:
    services = (
        {"name": "db", "alias": "postgres", "image": "alpine:3.20", "environment": {"A": "1"}, "instances": 2},
        {"name": "cache", "image": "busybox:latest", "cpu_limit_cores": 0.5},
    )
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        engine.health["busybox:latest"] = ["starting", "starting", "healthy"]
        result = await queen.run(run("echo ran", services=services))
        assert (result.outcome, queen.text(result.token)) == (TaskResult.COMPLETED, ["ran"])
        first, second, cache, main = engine.made
        network = main["HostConfig"]["NetworkMode"]
        assert first["Env"] == second["Env"] == ["A=1"] and cache["HostConfig"]["NanoCpus"] == 500_000_000
        assert first["NetworkingConfig"] == {"EndpointsConfig": {network: {"Aliases": ["db", "postgres"]}}}
        assert not engine.containers and not engine.networks


@pytest.mark.parametrize("how", ["unhealthy", "ended"])
@in_loop
async def test_a_service_that_does_not_come_up_fails_the_task_with_its_last_words(tmp_path: Path, how: str) -> None:
    command = ["/bin/sh", "-c", "echo no space; " + ("exit 3" if how == "ended" else "sleep 30")]
    service = {"name": "db", "image": "alpine:3.20", "command": command}
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        last = "starting" if how == "ended" else "unhealthy"
        engine.health["alpine:3.20"] = ["starting", "starting", "starting", last]
        result = await queen.run(run("echo never", services=(service,)))
        assert (result.error_code, queen.text(result.token)) == ("ERR_DOCKER", [])
        assert ("exit code 3" if how == "ended" else "is unhealthy") in result.error_message
        assert "no space" in result.error_message
        assert not engine.containers and not engine.networks


# ends


@in_loop
async def test_a_time_out_ends_the_container_and_after_script_still_runs(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine, after_script_s=5.0)) as (queen, _):
        task = run("echo begun; sleep 60", after_script=("echo tidied",))
        result = await queen.run(task, timeout_s=1.0)
        assert (result.outcome, result.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
        assert queen.text(result.token) == ["begun", "tidied"]
        assert engine.calls("POST /containers/[^/]+/stop")[0].query == {"t": "6"}
        assert not engine.containers


@in_loop
async def test_a_cancel_ends_even_a_container_that_does_not_listen(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        token = await queen.grant(run("trap '' TERM; echo begun; while :; do sleep 0.1; done"))
        await queen.until(lambda: queen.text(token) == ["begun"])
        await queen.cancel(token)
        assert (await queen.result(token)).outcome == TaskResult.CANCELLED
        assert not engine.containers
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


@in_loop
async def test_a_cancel_while_it_is_prepared_leaves_nothing(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        engine.gate = asyncio.Event()
        token = await queen.grant(run("true", container={"image": "busybox:latest"}))
        await queen.until(lambda: bool(engine.calls("POST /images/create")))
        await queen.cancel(token)
        assert (await queen.result(token)).outcome == TaskResult.CANCELLED
        engine.gate.set()
        assert not engine.containers and not engine.made


@in_loop
async def test_a_lost_lease_kills_at_once_and_an_ant_that_ends_removes_all(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine:
        async with colony(config=config(engine)) as (queen, _):
            token = await queen.grant(run("echo begun; sleep 60", services=({"name": "s", "image": "alpine:3.20"},)))
            await queen.until(lambda: queen.text(token) == ["begun"])
            assert len(engine.containers) == 2
        assert engine.calls("POST /containers/[^/]+/kill")
        assert not engine.containers and not engine.networks


@in_loop
async def test_out_of_memory_is_said(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        engine.killed_for_memory.add("alpine:3.20")
        result = await queen.run(run("kill -9 $$"))
        assert (result.exit_code, "memory_limit" in result.error_message) == (137, True)


@in_loop
async def test_much_output_comes_whole_and_in_order(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine, colony(config=config(engine)) as (queen, _):
        result = await queen.run(run("seq 20000"))
        assert queen.text(result.token) == [str(number) for number in range(1, 20_001)]


@in_loop
async def test_what_a_dead_ant_left_is_removed_and_what_others_run_is_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    here, alive = socket.gethostname(), process_mark(os.getpid())
    async with docker_engine(tmp_path) as engine:
        api = DockerApi(engine.address)
        owners = {
            "left": {"formicary.host": here, "formicary.process": f"{dead.stdout.strip()}:123"},
            "reused": {"formicary.host": here, "formicary.process": f"{os.getpid()}:1"},
            "mine": {"formicary.host": here, "formicary.process": alive},
            "elsewhere": {"formicary.host": "another", "formicary.process": "999999:1"},
            "foreign": {},
        }
        for name, labels in owners.items():
            body = {"Image": "alpine:3.20", "Labels": labels, "HostConfig": {}}
            await api.call("POST", "/containers/create", query={"name": name}, body=body)
            await api.call("POST", "/networks/create", body={"Name": name, "Labels": labels})
        async with colony(config=config(engine)) as (queen, _):
            assert (await queen.run(run("true"))).outcome == TaskResult.COMPLETED
        assert {one.name for one in engine.containers.values()} == {"mine", "elsewhere", "foreign"}
        assert set(engine.networks) == {"mine", "elsewhere", "foreign"}
        await api.close()


# the engine


@in_loop
async def test_an_engine_that_is_not_there_or_too_old_is_said(tmp_path: Path) -> None:
    async with docker_engine(tmp_path) as engine:
        engine.version = "1.39"
        async with colony(config=config(engine)) as (queen, _):
            result = await queen.run(run("true"))
            assert result.error_code == "ERR_DOCKER" and "before version 19.03" in result.error_message
    nowhere = AntConfig("a", slots=1, methods=METHODS, docker=f"unix://{tmp_path}/none.sock")
    async with colony(config=nowhere) as (queen, _):
        result = await queen.run(run("true"))
        assert result.error_code == "ERR_DOCKER" and "does not answer" in result.error_message


@in_loop
async def test_an_engine_elsewhere_is_reached_over_tcp_with_certificates_of_both_sides(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("ant")
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, one in (("cert", client), ("server", server)):
        one.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        one.private_key_pem.write_to_path(folder / ("key.pem" if name == "cert" else "server.key"))
    tls = {
        "ssl_certfile": str(folder / "server.pem"), "ssl_keyfile": str(folder / "server.key"),
        "ssl_ca_certs": str(folder / "ca.pem"), "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }  # fmt: skip
    async with docker_engine(tmp_path, host="127.0.0.1", port=0, **tls) as engine:
        address = f"tcp://127.0.0.1:{engine.port}"
        known = AntConfig("a", methods=METHODS, docker=address, docker_certificates=str(folder))
        async with colony(config=known) as (queen, _):
            result = await queen.run(run("echo over there"))
            assert (result.outcome, queen.text(result.token)) == (TaskResult.COMPLETED, ["over there"]), result
        async with colony(config=AntConfig("b", methods=METHODS, docker=address)) as (queen, _):
            result = await queen.run(run("true"))
            assert (result.error_code, "does not answer" in result.error_message) == ("ERR_DOCKER", True), result
        missing = AntConfig("c", methods=METHODS, docker=address, docker_certificates=str(tmp_path / "none"))
        async with colony(config=missing) as (queen, _):
            result = await queen.run(run("true"))
            assert (result.error_code, "certificates" in result.error_message) == ("ERR_DOCKER", True), result


@in_loop
async def test_an_engine_that_dies_meanwhile_fails_the_task(tmp_path: Path) -> None:
    async with colony(config=AntConfig("a", docker=f"unix://{tmp_path}/docker.sock", methods=METHODS)) as (queen, _):
        async with docker_engine(tmp_path) as engine:
            token = await queen.grant(run("echo begun; sleep 60"))
            await queen.until(lambda: queen.text(token) == ["begun"])
            for found in list(engine.containers.values()):
                await engine.end(found)
                del engine.containers[found.id]
            result = await queen.result(token)
        assert result.error_code == "ERR_DOCKER"


def test_frames_come_in_pieces_of_any_size() -> None:
    wire = b"\x01\0\0\0\0\0\0\x05hello" + b"\x02\0\0\0\0\0\0\x00" + b"\x02\0\0\0\0\0\0\x03bad" + b"\0\0\0\0\0\0\0\x01x"
    for size in range(1, len(wire) + 1):
        frames, found = Frames(), {1: b"", 2: b""}
        for at in range(0, len(wire), size):
            for stream, content in frames.feed(wire[at : at + size]):
                found[stream] += content
        assert found == {1: b"hellox", 2: b"bad"}
    with pytest.raises(DockerError, match="frames"):
        list(Frames().feed(b"plain text of a terminal"))


def test_where_the_engine_is_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker_here({"FORMICARY_DOCKER": "none", "DOCKER_HOST": "tcp://a:1"}) == ""
    assert docker_here({"FORMICARY_DOCKER": "tcp://b:1", "DOCKER_HOST": "tcp://a:1"}) == "tcp://b:1"
    assert docker_here({"DOCKER_HOST": "unix:///x"}) == "unix:///x"
    assert docker_certificates_here({"DOCKER_CERT_PATH": "/c"}) == ""
    assert docker_certificates_here({"DOCKER_CERT_PATH": "/c", "DOCKER_TLS_VERIFY": "1"}) == "/c"
    monkeypatch.setenv("FORMICARY_DOCKER", "none")
    assert "DOCKER" not in methods_here()
    with pytest.raises(Problem, match="needs a Docker engine"):
        AntConfig("a", methods=METHODS)
    with pytest.raises(Problem, match=r"docker_allow names all.*docker must be an address"):
        AntConfig("a", methods=METHODS, docker="/var/run/docker.sock", docker_allow=frozenset({"all"}))
    monkeypatch.setenv("FORMICARY_DOCKER", "unix:///x")
    monkeypatch.setenv("FORMICARY_DOCKER_VOLUMES", "/srv: data")
    found = AntConfig("a")
    assert "DOCKER" in found.methods and found.docker_volumes == ("/srv", "data")
