"""`formicary simulate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table

if TYPE_CHECKING:
    from formicary.engine.scheduling.simulation.engine import Outcome
    from formicary.engine.scheduling.simulation.workload import Cluster, Job

MOBILE = "mobile-analysis"
EXAMPLE = '{"ants": [{"id": "a1", "capacity": {"slots": 4}}]}'


@click.command(short_help="Run a workload under scheduling policies, without running it.")
@click.option(
    "--workload",
    default="",
    metavar="FILE",
    help=f"Jobs as JSON lines, or a trace *.swf; `{MOBILE}` makes 100,000 apps a day; `-` is standard input.",
)
@click.option(
    "--history",
    default="",
    metavar="DATA",
    help="The ended jobs of a data directory or postgresql:// database, beside what became of them.",
)
@click.option("--since", default="7d", show_default=True, metavar="DURATION", help="With --history: how far back.")
@click.option("--org", default="local", show_default=True, help="With --history: whose jobs.")
@click.option(
    "--cluster", "cluster_file", metavar="FILE", help="Ants and queues as JSON; else those of the trace or the history."
)
@click.option("--add-ants", type=click.IntRange(0, 10_000), default=0, help="So many more ants, like the largest.")
@click.option(
    "--policy", "policies", multiple=True, required=True, metavar="NAME", help="What decides; several are compared."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the policies, or until, seed."
)
@click.option("--estimates", is_flag=True, help="Score how well each wait could have been told at its submission.")
@click.option("--plot", metavar="FILE", help="Write a picture (SVG).")
@options.output
def simulate(
    workload: str,
    history: str,
    since: str,
    org: str,
    cluster_file: str | None,
    add_ants: int,
    policies: tuple[str, ...],
    settings: tuple[str, ...],
    estimates: bool,
    plot: str | None,
    output: str,
) -> int:
    r"""Says when each job of a workload would start, end and where, and what that comes to. Times are seconds.

    \b
    Examples:
      formicary simulate --workload w.jsonl --cluster c.json --policy fcfs --output json
      formicary simulate --workload w.jsonl --cluster c.json --policy edf --set preemptive=true
      formicary simulate --workload trace.swf --policy fcfs --policy backfill --plot waits.svg
      formicary simulate --workload mobile-analysis --policy fcfs --policy sjf --policy drf --policy edf
      formicary simulate --workload w.jsonl --cluster c.json --policy fcfs,delay --set max_wait=5
      formicary simulate --workload w.jsonl --cluster c.json --policy fcfs --set speculate=percentile
      formicary simulate --history /var/lib/formicary --since 7d --policy fair --policy priority
      formicary simulate --history /var/lib/formicary --add-ants 10 --policy fcfs

    A job may come after others (after), not begin before a time (not_before), have its data somewhere (data,
    remote_runtime) and be run twice when it lags (copy_runtime). All fields, policies and their parameters:
    docs/reference/scheduling.md. Several policies with json print a list.

    Exit status: 0 when it was simulated, 2 for invalid input: every mistake is told, with its line.
    """
    from formicary.engine.scheduling.simulation.workload import Cluster

    names = [name for given in policies for name in given.split(",") if name]
    wrong, values = _settings(names, settings)
    outcomes: dict[str, Outcome] = {}
    if bool(workload) == bool(history):
        wrong.append("give either --workload FILE or --history DATA")
        nothing: tuple[list[Job], Cluster] = ([], Cluster(()))
        jobs, cluster = nothing
    elif history:
        jobs, cluster = _past(history, since, org, cluster_file, outcomes, wrong)
    else:
        jobs, cluster = _inputs(workload, cluster_file, values, wrong)
    if plot is not None and not plot.lower().endswith(".svg"):
        wrong.append(f"--plot {plot}: pictures are SVG: the name must end in .svg")
    if wrong:
        for sentence in wrong:
            exits.say(f"error: {sentence}")
        return exits.INVALID
    clusters = dict.fromkeys(outcomes, cluster)
    if add_ants:
        from formicary.engine.queen.history import with_more

        cluster = with_more(cluster, add_ants)
    for name in names:
        clusters[name] = cluster
        try:
            outcomes[name] = _run(name, values[name], jobs, cluster)
        except ValueError as error:
            exits.say(f"error: policy {name}: {error}")
            return exits.INVALID
    if plot is not None and not _draw(plot, outcomes, cluster):
        return exits.INVALID
    _print(outcomes, clusters, output, estimates=estimates)
    _note_who_never_ends(outcomes, output)
    return exits.OK


def _draw(plot: str, outcomes: Mapping[str, Outcome], cluster: Cluster) -> bool:
    """Writes the picture; False where the file cannot be, which is told."""
    from formicary.engine.scheduling.simulation.chart import draw

    try:
        Path(plot).write_text(draw(outcomes, cluster), encoding="utf-8")
    except OSError as error:
        exits.say(f"error: --plot {plot}: {error.strerror}")
        return False
    return True


def _note_who_never_ends(outcomes: Mapping[str, Outcome], output: str) -> None:
    """A table has figures only: why jobs are missing in them is told beside it."""
    for name, outcome in outcomes.items() if output == "table" else ():
        dropped = [ran for ran in outcome.jobs if ran.reason]
        if dropped:
            first = dropped[0]
            exits.say(f"note: {name}: {len(dropped)} never run to their end; {first.job.id}: {first.reason}")


def _run(name: str, values: Mapping[str, object], jobs: Sequence[Job], cluster: Cluster) -> Outcome:
    """One policy's run. Raises ValueError where the policy and the cluster do not go together."""
    from formicary.engine.scheduling.simulation.engine import Simulation
    from formicary.engine.scheduling.simulation.registry import make_policy

    policy = make_policy(name, values, cluster, jobs)
    until, seed = values["until"], values["seed"]
    return Simulation(
        cluster,
        jobs,
        policy,
        seed=int(seed) if isinstance(seed, float) else 0,
        until=until if isinstance(until, float) else None,
    ).run()


def _settings(names: Sequence[str], settings: Sequence[str]) -> tuple[list[str], dict[str, dict[str, object]]]:
    """Values by policy. A parameter must belong to at least one of them."""
    from formicary.engine.scheduling.simulation.registry import EVERYWHERE, POLICIES, read_settings

    wrong: list[str] = []
    texts: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if equals:
            texts[key] = value
        else:
            wrong.append(f"--set {setting}: must be KEY=VALUE")
    values: dict[str, dict[str, object]] = {}
    for name in names:
        if name not in POLICIES:
            wrong.append(f"--policy {name}: there is no such policy; policies are {', '.join(POLICIES)}")
    known = [name for name in names if name in POLICIES]
    for name in known:
        own = {**EVERYWHERE, **POLICIES[name].parameters}
        shared = {key for other in known for key in POLICIES[other].parameters}
        mine = {key: text for key, text in texts.items() if key in own or key not in shared}
        values[name], found = read_settings(name, mine)
        wrong += [one for one in found if one not in wrong]
    return wrong, values


def _read(file: str, wrong: list[str]) -> str | None:
    import gzip
    import zlib

    try:
        if file.lower().endswith(".gz"):
            return gzip.decompress(Path(file).read_bytes()).decode("utf-8")
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        wrong.append(f"{file}: is not a whole gzip file: {error}")
    except OSError as error:
        wrong.append(f"{file}: {error.strerror}")
    except UnicodeDecodeError:
        wrong.append(f"{file}: is not UTF-8 text")
    return None


def _past(
    target: str, since: str, org: str, cluster_file: str | None, outcomes: dict[str, Outcome], wrong: list[str]
) -> tuple[list[Job], Cluster]:
    """The jobs and ants of a store; what became of them is the first outcome."""
    import time

    from formicary.engine.jobs.durations import parse_duration
    from formicary.engine.queen.history import RECORDED, read_history
    from formicary.engine.scheduling.simulation.workload import Cluster
    from formicary.engine.storage.backends import DATABASE_FILE, open_store
    from formicary.engine.storage.port import StoreError

    nothing: tuple[list[Job], Cluster] = ([], Cluster(()))
    try:
        seconds = parse_duration(since)
    except ValueError as error:
        wrong.append(f"--since {since}: {error}")
        return nothing
    if "://" not in target and not (Path(target) / DATABASE_FILE).is_file():
        wrong.append(f"--history {target}: there is no {DATABASE_FILE} in it: give the data directory of a server")
        return nothing
    try:
        store = open_store(target)
        try:
            found = read_history(store, org, time.time() - seconds, resources=cluster_file is not None)
        finally:
            store.close()
    except StoreError as error:
        wrong.append(f"--history {target}: {error}")
        return nothing
    if not found.jobs:
        wrong.append(f"--history {target}: no job of {org} that was submitted in the last {since} has run and ended")
    cluster = found.cluster if cluster_file is None else _cluster(cluster_file, wrong)
    outcomes[RECORDED] = found.outcome
    return list(found.jobs), cluster


def _cluster(file: str, wrong: list[str]) -> Cluster:
    """The ants and queues of a file."""
    from formicary.engine.scheduling.simulation import reading
    from formicary.engine.scheduling.simulation.workload import Cluster

    text = _read(file, wrong)
    if text is None:
        return Cluster(())
    places = reading.Wrong(file)
    cluster = reading.read_cluster(text, places)
    wrong += places.found
    return cluster


def _inputs(
    workload: str, cluster_file: str | None, values: Mapping[str, Mapping[str, object]], wrong: list[str]
) -> tuple[list[Job], Cluster]:
    from formicary.engine.scheduling.simulation import reading, synthetic
    from formicary.engine.scheduling.simulation.workload import Ant, Cluster

    jobs: list[Job] = []
    cluster: Cluster | None = None
    first: Mapping[str, object] = next(iter(values.values()), {})
    found = reading.Wrong(workload)
    text: str | None = None
    if workload == MOBILE:
        seed = first.get("seed")
        jobs = synthetic.mobile_analysis(Random(int(seed) if isinstance(seed, float) else 0))
        cluster = synthetic.analysis_cluster()
    else:
        text = _read(workload, wrong)
        if text is not None and reading.is_swf(workload, text):
            jobs, processors = reading.read_swf(text, found)
            most = max((job.demand["cpu"] for job in jobs), default=1.0)
            cluster = Cluster((Ant("machine", {"cpu": float(processors or most)}),))
        elif text is not None:
            jobs = reading.read_workload(text, found)
            until = first.get("until")
            jobs = reading.unfold(jobs, until if isinstance(until, float) else None, found)
    if cluster_file is not None:
        cluster = _cluster(cluster_file, found.found)
    elif cluster is None and text is not None:
        wrong.append(f"--cluster FILE is missing: the ants that there are, such as {EXAMPLE}")
    wrong += found.found
    return jobs, cluster or Cluster(())


def _score(outcome: Outcome, cluster: Cluster, name: str) -> dict[str, object]:
    """How well the waits of a run could have been told beforehand."""
    from formicary.engine.scheduling.simulation.forecasting import score_of

    found = score_of(outcome, cluster, Random(0), by_priority=name == "priority")
    return {
        "waits": found.count,
        "mean_error_s": round(found.mean_error_s, 3),
        "article_mean_error_s": round(found.article_mean_error_s, 3),
        "inside": round(found.coverage, 4),
    }


def _told(at: float | None) -> float | None:
    """A time without what rounding makes of a sum: 0.3, not 0.30000000000000004."""
    return None if at is None else round(at, 9)


def _document(outcome: Outcome, cluster: Cluster) -> dict[str, object]:
    from formicary.engine.scheduling.simulation.summary import summarise

    jobs = []
    for ran in outcome.jobs:
        one: dict[str, object] = {
            "id": ran.job.id,
            "start": _told(ran.start),
            "end": _told(ran.end),
            "ant": ran.ant,
            "missed_deadline": ran.missed_deadline,
        }
        if len(ran.segments) > 1 or ran.stands_aside:
            one["segments"] = [[_told(start), _told(end), ant] for start, end, ant in ran.segments]
        if ran.reason:
            one["reason"] = ran.reason
        jobs.append(one)
    return {"jobs": jobs, "summary": summarise(outcome, cluster)}


def _print(outcomes: Mapping[str, Outcome], clusters: Mapping[str, Cluster], form: str, *, estimates: bool) -> None:
    documents = {name: _document(outcome, clusters[name]) for name, outcome in outcomes.items()}
    for name, document in documents.items() if estimates else ():
        summary = document["summary"]
        if isinstance(summary, dict):
            summary["estimates"] = _score(outcomes[name], clusters[name], name)
    if form != "table":
        whole = [{"policy": name, **document} for name, document in documents.items()]
        emit(whole if len(whole) > 1 else next(iter(documents.values())), form)
        return
    from formicary.engine.scheduling.simulation.summary import flat

    summaries = {name: flat(document["summary"]) for name, document in documents.items()}
    figures = dict.fromkeys(figure for summary in summaries.values() for figure in summary)
    rows = [[figure, *(_cell(summary.get(figure)) for summary in summaries.values())] for figure in figures]
    emit_table(["FIGURE", *summaries], rows)


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
