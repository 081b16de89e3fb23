"""`formicary up` from start to end: lock, ports, store, queen, ants; a signal drains it, then all stops in reverse."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import uvloop

from formicary.embedded.opening import as_problems, open_data
from formicary.engine.queen.approvals import ESCALATED_METHOD
from formicary.engine.queen.keyring import Keyring
from formicary.engine.queen.queues import QueueBook
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.storage.artifacts import LocalArtifacts, artifacts_folder
from formicary.engine.storage.data_lock import DataLock
from formicary.engine.storage.freed_memory import keep_freed_memory
from formicary.gateway import Interceptor
from formicary.gateway.interceptors import AccessLog
from formicary.problems import Problem, problem
from formicary.server.alerts.rules import AlertRules, read_file
from formicary.server.api.call_keys import idempotent, open_keys
from formicary.server.api.rest import rest
from formicary.server.api.serving import GrpcServer, engine_chain, new_mapping, serve
from formicary.server.api.webhooks import Webhooks
from formicary.server.auth.audit import Audit, AuditLog
from formicary.server.auth.interceptors import Authenticate, LimitRate, authorise
from formicary.server.auth.local import as_local_admin
from formicary.server.auth.principal import HOME, Verify
from formicary.server.auth.tokens import LONGEST, TokenBook, new_token
from formicary.server.browser_guard import BrowserGuard
from formicary.server.config import UpConfig
from formicary.server.cors import Cors, origin
from formicary.server.http import App, HttpServer, Pages, listen
from formicary.server.metrics import page as metrics_page
from formicary.server.metrics.collector import Sources
from formicary.server.metrics.page import MetricsPage
from formicary.server.scaling import external_metrics
from formicary.server.scaling.external_metrics import ExternalMetrics
from formicary.server.scaling.keda import ExternalScaler, serve_scaler
from formicary.server.supervisor import Supervisor
from formicary.server.tls import Certificate

if TYPE_CHECKING:
    from formicary.server.telemetry import Telemetry

log = logging.getLogger("formicary.server")
PUT_QUEUES = "formicary.v1.QueueService/PutQueues"
"""How the audit log calls a change of the queues, by the API or by `--queues`."""
EXIT_OK = 0
EXIT_FORCED = 1
EXIT_FENCED = 1
CLOSE_STREAMS_S = 0.5
DAY_S = 86_400.0
CONNECT_WAIT_S = 2.0
"""How long the line ``ready …`` waits for the local ants."""
BURY_AGAIN_S = 0.05


def run_server(config: UpConfig) -> int:
    """Serves until SIGTERM or SIGINT; prints one line ``ready …`` on standard output when it serves.

    Returns:
        0 drained, 1 forced by a second signal, or another queen has taken over the database.

    Raises:
        Problem: It cannot start: DATA_IN_USE, UNSUPPORTED_DATA_VERSION, UNAVAILABLE, FAILED_PRECONDITION (a port).
    """
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Server(config).run())


def _own_url(config: UpConfig, http_port: int) -> str:
    """Where programs on this machine find the HTTP port."""
    host = "127.0.0.1" if config.host in ("", "0.0.0.0", "::", "localhost") else config.host
    scheme = "https" if config.tls_cert is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{http_port}"


class _Server:
    """The parts of one server and the state they share."""

    def __init__(self, config: UpConfig) -> None:
        self._config = config
        self._pages = Pages(self._checks, self._counters)
        self._queen: Queen | None = None
        self._supervisor: Supervisor | None = None
        self._tls: Certificate | None = None
        self._unburied: list[str] = []
        self._metrics = Sources(ant_restarts=lambda: self._supervisor.restarts if self._supervisor is not None else 0)
        self._begun = time.monotonic()
        self._draining = False
        self._signals = 0
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Starts everything, waits, stops everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        config = self._config
        rules = read_file(config.alerts) if config.alerts is not None else None
        async with AsyncExitStack() as stack:
            lock = DataLock(config.data)
            with as_problems():
                lock.acquire(http_port=config.http_port, grpc_port=config.grpc_port)
            stack.callback(lock.release)
            telemetry = self._open_telemetry(stack)
            self._tls = self._certificate()
            http, http_port = await self._open_http(stack)
            queen = await self._open_queen(stack)
            queen.tracer = telemetry
            tokens = TokenBook(queen.store)
            await tokens.load()
            who = await self._who(tokens, stack)
            find = next((one.find for one in who if isinstance(one, Authenticate)), None)
            mapping = self._metrics.headers = new_mapping()
            figures = MetricsPage(self._metrics, find)
            self._pages.add(metrics_page.PATH, figures)
            await self._open_scaling(figures, stack)
            book = self._audit_log(queen, stack)
            if self._config.queues is not None:
                book.note(HOME, PUT_QUEUES, self._config.queues_file, "OK")
            access = AccessLog(self._metrics.counts)
            keys = await stack.enter_async_context(open_keys(config.target, config.data))
            kept = [idempotent(keys, queen.configs.blind)]
            chain = engine_chain([Audit(book), *who], access_log=access, mapping=mapping, keys=kept)
            if telemetry is not None:
                chain.insert(1, telemetry.span)  # directly after `trace`
            grpc = await self._open_grpc(queen, chain, tokens, stack)
            limit = next((one for one in who if isinstance(one, LimitRate)), None)
            self._pages.mount(rest(queen, chain, tokens, Webhooks(queen, find, book, access, limit)))
            lock.update(http_port=http_port, grpc_port=grpc.port)
            queen_address = f"unix:{config.socket}" if config.tls_cert else f"{config.ant_host}:{grpc.port}"
            count = await self._ants_to_start(queen) if rules is not None else None
            url = config.notify.public_url or _own_url(config, http_port)
            supervisor = Supervisor(config, queen_address, self._bury, await self._ant_token(tokens), count, url)
            supervisor.start()
            if rules is not None:
                await self._watch(rules, queen, figures, supervisor, stack)
            self._supervisor = supervisor
            await self._ants_connected(queen, supervisor)
            self._metrics.startup_s = time.monotonic() - self._begun
            self._print_ready(http_port, grpc)
            status = await self._serve(queen, supervisor, grpc)
            if config.auth and status == EXIT_OK:
                await tokens.revoke_named(self._ants_name)
            await http.stop()
            return status

    # --- starting ---------------------------------------------------------------------------------------------------

    async def _who(self, tokens: TokenBook, stack: AsyncExitStack) -> list[Interceptor]:
        """What finds out who is calling and what the caller may do."""
        rate, oidc = self._config.rate_per_s, self._config.oidc
        if not self._config.auth:
            return [as_local_admin]
        others: list[Verify] = []
        if oidc is not None:
            from formicary.server.auth.oidc import open_issuer  # needs an extra

            others.append((await stack.enter_async_context(open_issuer(oidc))).verify)
        return [Authenticate(tokens, others), LimitRate(rate, max(1, round(2 * rate))), authorise]

    async def _open_scaling(self, figures: MetricsPage, stack: AsyncExitStack) -> None:
        """What Kubernetes and KEDA scale ants by."""
        page = ExternalMetrics(self._metrics, figures.count_jobs, figures.check)
        self._pages.add_below(external_metrics.PREFIX, page)
        if self._config.scaler:
            scaler = ExternalScaler(self._metrics, figures.count_jobs)
            tls = self._tls if self._config.scaler_tls else None
            ask = self._config.client_ca is not None
            credentials = tls.for_grpc(client_certificates=ask) if tls is not None else None
            server, _ = await serve_scaler(scaler, self._config.scaler, credentials)
            stack.push_async_callback(server.stop, CLOSE_STREAMS_S)

    async def _ants_to_start(self, queen: Queen) -> int:
        from formicary.server.alerts.watch import ants_to_start  # slow to import

        return await ants_to_start(queen, self._config.ants)

    async def _watch(
        self, rules: AlertRules, queen: Queen, figures: MetricsPage, supervisor: Supervisor, stack: AsyncExitStack
    ) -> None:
        """Looks at the alert rules until shortly before the store is closed."""
        from formicary.server.alerts.watch import AlertWatch  # slow to import

        watch = AlertWatch(rules, queen, self._metrics, figures.count_jobs, supervisor, self._config.ants)
        self._metrics.alerts = lambda: (watch.firing(), watch.fired)
        await watch.start()
        stack.push_async_callback(watch.stop)

    def _certificate(self) -> Certificate | None:
        """The server's certificate; SIGHUP looks at its files at once instead of with the next connection."""
        config = self._config
        if config.tls_cert is None or config.tls_key is None:
            return None
        found = Certificate(config.tls_cert, config.tls_key, config.client_ca)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, found.refresh)
        return found

    def _audit_log(self, queen: Queen, stack: AsyncExitStack) -> AuditLog:
        """Records calls, until shortly before the store is closed."""
        book = AuditLog(queen.store, self._config.audit_days * DAY_S)
        book.start()
        queen.approvals.escalated.append(
            lambda what: book.note(what.org, ESCALATED_METHOD, f"{what.job_id}/{what.task_type}", "OK")
        )
        self._metrics.audit_dropped = lambda: book.dropped
        stack.push_async_callback(book.stop)
        return book

    @property
    def _ants_name(self) -> str:
        return f"local ants of {self._config.data}"[:LONGEST]

    def _open_telemetry(self, stack: AsyncExitStack) -> Telemetry | None:
        if not self._config.otlp_endpoint:
            return None
        from formicary.server.telemetry import Telemetry, TelemetryConfig  # an extra, and slow to import

        config = TelemetryConfig(self._config.otlp_endpoint)
        telemetry = Telemetry(config, self._metrics, asyncio.get_running_loop())
        stack.push_async_callback(telemetry.shutdown)
        return telemetry

    async def _ant_token(self, tokens: TokenBook) -> str:
        """A token for the local ants. Its hash is stored: ants that outlive a killed server are known to the next."""
        if not self._config.auth:
            return ""
        text, token = new_token("ant", HOME, self._ants_name)
        await tokens.add(token)
        return text

    async def _open_http(self, stack: AsyncExitStack) -> tuple[HttpServer, int]:
        listener = listen(self._config.host, self._config.http_port)
        port = int(listener.getsockname()[1])
        tls = self._tls.for_http() if self._tls is not None else None
        http = HttpServer(self._http_app(), listener, tls=tls)
        await http.start()
        stack.push_async_callback(http.stop)
        return http, port

    def _http_app(self) -> App:
        """What the HTTP port answers with: the pages, guarded, and read by the pages of named origins."""
        origins = [origin(text) for text in self._config.cors_origins]
        app: App = self._pages if self._config.auth else BrowserGuard(self._pages, origins)
        return Cors(app, origins) if origins else app

    async def _open_queen(self, stack: AsyncExitStack) -> Queen:
        config = self._config
        keyring = await asyncio.to_thread(Keyring.open, config.secret_key_file)
        store, logs = await asyncio.to_thread(open_data, config.target)
        contents = LocalArtifacts(artifacts_folder(config.data))
        queen_config = QueenConfig(
            core=config.core,
            methods=dict(config.methods),
            schedules=True,
            queue_url=config.queue_url,
            purges=not config.keep_jobs,
            notify=config.notify,
        )
        queen = Queen(store, logs, queen_config, contents, keyring)
        try:
            with as_problems():
                await queen.start()
        except BaseException:
            store.close()
            raise
        stack.push_async_callback(queen.stop)
        if config.queues is not None:
            await QueueBook(queen).put(config.queues, by=f"--queues {config.queues_file}")
        self._queen = self._metrics.queen = queen
        return queen

    async def _open_grpc(
        self, queen: Queen, chain: Sequence[Interceptor], tokens: TokenBook, stack: AsyncExitStack
    ) -> GrpcServer:
        config, tls = self._config, self._tls
        certified = None
        if tls is not None and config.client_ca is not None:
            certified = (config.ant_port, tls.for_grpc(client_certificates=True))
        try:
            grpc = await serve(
                queen,
                config.host,
                config.grpc_port,
                chain,
                tokens,
                tls=tls.for_grpc() if tls else None,
                socket=str(config.socket) if tls else "",
                for_certified=certified,
            )
        except Problem as error:
            ants = f" or the port for ants {config.ant_port}" if certified else ""
            raise problem(
                "FAILED_PRECONDITION",
                f"The gRPC port {config.host}:{config.grpc_port}{ants} cannot be used: another process listens there. "
                f"Stop it, or choose another one with --grpc-port{' or --ant-port' if certified else ''}.",
            ) from error
        stack.push_async_callback(grpc.stop, CLOSE_STREAMS_S)
        return grpc

    async def _ants_connected(self, queen: Queen, supervisor: Supervisor) -> None:
        """Waits until every local ant has met the queen, but not long: jobs can be submitted without them."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CONNECT_WAIT_S
        while loop.time() < end and not self._stop.is_set():
            connected = {ant["id"] for ant in queen.counters()["ants"] if ant["connected"]}
            if connected.issuperset(supervisor.ids):
                return
            await asyncio.sleep(0.01)
        log.warning("not every local ant has connected yet; their output is in %s", self._config.data / "ant-*.log")

    def _print_ready(self, http_port: int, grpc: GrpcServer) -> None:
        config = self._config
        ports = f"http={config.host}:{http_port} grpc={config.host}:{grpc.port}"
        if grpc.certified_port:
            ports += f" ant-port={config.host}:{grpc.certified_port}"
        try:
            print(f"ready {ports} data={config.data} ants={config.ants}", flush=True)
        except OSError:
            pass  # nobody reads; the server is there all the same

    # --- serving ----------------------------------------------------------------------------------------------------

    async def _serve(self, queen: Queen, supervisor: Supervisor, grpc: GrpcServer) -> int:
        """Waits for a signal (or the loss of the colony) and ends the ants."""
        fenced = asyncio.create_task(queen.pump.fenced.wait())
        stopped = asyncio.create_task(self._stop.wait())
        forced = asyncio.create_task(self._force.wait())
        try:
            await asyncio.wait({fenced, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._draining = True
            await grpc.drain()
            if fenced.done():
                print("error: another queen has taken over this database; this one stops.", file=sys.stderr)
                await supervisor.kill()
                return EXIT_FENCED
            draining = asyncio.create_task(supervisor.drain(self._config.grace_s))
            await asyncio.wait({draining, forced}, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
                return EXIT_OK
            draining.cancel()
            await supervisor.kill()
            return EXIT_FORCED
        finally:
            for task in (fenced, stopped, forced):
                task.cancel()

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("draining: running tasks may finish within %g s; a second signal ends them", self._config.grace_s)
            self._stop.set()
        else:
            self._force.set()

    def _bury(self, ant_id: str) -> None:
        """A local ant is dead: the queen is told as soon as it listens, which it does not while its store is away."""
        self._unburied.append(ant_id)
        if len(self._unburied) == 1:
            self._bury_all()

    def _bury_all(self) -> None:
        queen = self._queen
        if queen is not None and queen.ready:
            for ant_id in self._unburied:
                queen.bury_ant(ant_id)
            self._unburied.clear()
        elif not self._draining:
            asyncio.get_running_loop().call_later(BURY_AGAIN_S, self._bury_all)

    # --- what the HTTP port shows -----------------------------------------------------------------------------------

    def _checks(self) -> Mapping[str, str]:
        """What readiness depends on, each ``ok`` or a sentence that says why not."""
        queen = self._queen
        starting = queen is None or not self._pages.mounted
        store = "The queen is starting." if starting else "The store cannot be written at the moment."
        return {
            "queen": "ok" if queen is not None and queen.ready and not starting else store,
            "draining": "The server is draining." if self._draining else "ok",
        }

    def _counters(self) -> Mapping[str, Any]:
        if self._config.auth:
            return {}  # this page asks nobody who they are
        queen, supervisor = self._queen, self._supervisor
        found: dict[str, Any] = dict(queen.counters()) if queen is not None else {}
        found["ant_restarts"] = supervisor.restarts if supervisor is not None else 0
        return found
