"""`formicary ant`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from formicary.cli import exits, options
from formicary.cli.offering import offered, offering_options

if TYPE_CHECKING:
    from formicary.engine.ants.config import AntDevice


@click.command(short_help="Start one more ant for a queen.", epilog=exits.EXIT_HELP)
@click.option(
    "--queen",
    envvar="FORMICARY_SERVER",
    default=options.DEFAULT_SERVER,
    show_default=True,
    metavar="HOST:PORT",
    help="The queen's gRPC address; loopback, any with TLS, or any with a token and --insecure.",
)
@click.option("--id", "ant_id", default="", metavar="NAME", help="Name of the ant; default host name and process id.")
@offering_options
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME:KEY=VALUE,…",
    help="Something that one task at a time may use, like gpu0:kind=a100,env.CUDA_VISIBLE_DEVICES=0; repeatable.",
)
@click.option("--slots", type=click.IntRange(1, 1024), default=4, show_default=True, help="Tasks at the same time.")
@click.option("--grace", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds to drain.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of PYTHON modules; repeatable.",
)
@click.option(
    "--nats",
    envvar="FORMICARY_NATS",
    default="",
    metavar="URL",
    help="NATS server for MESSAGING tasks, nats://HOST:4222; with a password rather by FORMICARY_NATS.",
)
@click.option(
    "--workers",
    default="",
    metavar="HOST:PORT",
    help="Let programs register here over a web socket to carry out WEBSOCKET tasks; port 0 = any free one.",
)
@options.tls
@options.ca
@click.option("--cert", default="", metavar="FILE", help="The ant's own certificate, instead of a token.")
@click.option("--key", default="", metavar="FILE", help="Key of the certificate.")
@options.insecure
@click.option("--exit-when-orphaned", is_flag=True, help="End when the lease has ended and no queen answers.")
def ant(
    queen: str,
    ant_id: str,
    devices: tuple[str, ...],
    slots: int,
    grace: float,
    paths: tuple[Path, ...],
    nats: str,
    workers: str,
    tls: bool,
    ca: str,
    cert: str,
    key: str,
    insecure: bool,
    exit_when_orphaned: bool,
) -> int:
    r"""Starts an ant that runs tasks for a queen until SIGTERM; running tasks then finish within --grace.

    \b
    Examples:
      formicary ant
      formicary ant --queen 127.0.0.1:7778 --tags gpu,linux --slots 8
      formicary ant --resources cpu=8,memory=16Gi,gpu=1 --labels zone=eu,cuda=12.4
      formicary ant --device gpu0:kind=a100,memory=40 --device gpu1:kind=t4,memory=16
      formicary ant --queen queen.example:7779 --ca ca.pem --cert ant.pem --key ant.key

    DOCKER tasks run where FORMICARY_DOCKER, DOCKER_HOST or the usual socket leads to an engine; what they may have of
    the host stands in FORMICARY_DOCKER_VOLUMES and FORMICARY_DOCKER_ALLOW.

    Prints one line `ready ant …` when the queen has welcomed it. It reconnects by itself.
    Where the queen wants a token, FORMICARY_TOKEN holds one of role ant; tasks do not inherit it, nor FORMICARY_NATS.
    Workers of --workers have to know FORMICARY_WORKER_TOKEN, if it is set; beyond loopback it has to be.
    """
    from formicary.engine.ants.channel import reach
    from formicary.engine.ants.config import AntConfig, machine_resources
    from formicary.engine.ants.offers import WORKER_TOKEN_VARIABLE, methods_here
    from formicary.engine.ants.process import run_ant

    offer = offered()
    way = reach(options.read_address(queen, "--queen"), tls=tls, ca=ca, cert=cert, key=key)
    token = os.environ.pop("FORMICARY_TOKEN", "")  # what a task starts must not have it
    config = AntConfig(
        ant_id or f"{socket.gethostname()}-{os.getpid()}",
        slots=slots,
        tags=offer["tags"],
        resources=machine_resources() | offer["resources"],
        labels=offer["labels"],
        devices=_devices(devices),
        paths=tuple(str(path.absolute()) for path in paths),
        methods=methods_here(nats=nats),
        nats=nats,
        stop_grace_s=grace,
        exit_when_orphaned=exit_when_orphaned,
        # A queen of this machine that was killed is back in a second: what runs should not wait for two.
        reconnect_max_s=0.25 if exit_when_orphaned else 2.0,
    )
    return run_ant(
        config,
        way,
        token=token,
        insecure=insecure,
        workers=_host_and_port(workers) if workers else None,
        worker_token=os.environ.get(WORKER_TOKEN_VARIABLE, ""),
    )


def _devices(texts: tuple[str, ...]) -> dict[str, AntDevice]:
    from formicary.engine.ants.config import read_device

    found: dict[str, AntDevice] = {}
    for text in texts:
        try:
            name, device = read_device(text)
        except ValueError as error:
            raise click.UsageError(f"--device: {error}.") from None
        if name in found:
            raise click.UsageError(f"--device: {name} is there twice.")
        found[name] = device
    return found


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise click.BadParameter(f"{text[:100]!r} is not HOST:PORT.", param_hint="--workers")
    return host.strip("[]"), int(port)
