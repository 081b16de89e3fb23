"""Affinity between tasks: where they may run beside what runs, with queues and without, over restarts."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.explaining import explain
from formicary.engine.queen.queues import checked
from tests.unit.core.colony import Colony

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def job(name: str, affinity: str = "", labels: str = "", more: str = "", task: str = "") -> str:
    """A definition of one task."""
    lines = [f"job_type: {name}", more, "tasks:", "- task_type: work", "  script: x"]
    lines += [f"  labels: {labels}" if labels else "", f"  affinity: {affinity}" if affinity else "", task]
    return "\n".join(line for line in lines if line) + "\n"


def term(select: str, key: str = "ant", more: str = "") -> str:
    return f"{{topologyKey: {key}, labelSelector: {{matchLabels: {{{select}}}}}{more}}}"


def apart(select: str, key: str = "ant", more: str = "") -> str:
    return f"{{podAntiAffinity: {{{REQUIRED}: [{term(select, key, more)}]}}}}"


def near(select: str, key: str = "ant") -> str:
    return f"{{podAffinity: {{{REQUIRED}: [{term(select, key)}]}}}}"


@pytest.fixture(params=["plain", "queues"])
def colony(request: pytest.FixtureRequest) -> Colony:
    """Three ants of two zones with four slots each; the second way with queues."""
    found = Colony()
    if request.param == "queues":
        found.core.waiting.take("policy: priority\n", checked("policy: priority\n"), "ops")
    for name, zone in (("a", "eu"), ("b", "eu"), ("c", "us")):
        found.ant(name, 4, labels={"zone": zone})
    return found


def where(colony: Colony, *names: str) -> list[str | None]:
    """The ants of the jobs' first tasks, None where they wait."""
    found: list[str | None] = []
    for name in names:
        job = colony.core.jobs[name]
        run = job.run.runs.get(0) if job.run is not None else None
        found.append(run.holder.id if run is not None and run.holder is not None else None)
    return found


def zones(colony: Colony, *names: str) -> list[str | None]:
    by_ant = {"a": "eu", "b": "eu", "c": "us", None: None}
    return [by_ant[ant] for ant in where(colony, *names)]


def why(colony: Colony, name: str) -> str:
    return explain(colony.core, colony.core.jobs[name]).summary


def test_never_two_of_a_kind_in_one_domain(colony: Colony) -> None:
    """Two zones, three that keep apart: one waits and says why; when one ends, the next is in its zone."""
    db = colony.define(job("db", apart("app: db", "zone"), "{app: db}"))
    for name in ("x", "y", "z"):
        colony.submit(name, db)
    assert sorted(map(str, zones(colony, "x", "y", "z"))) == ["None", "eu", "us"]
    told = why(colony, "z")
    assert told.startswith(
        "no ant suits its affinity now: a, b: podAntiAffinity: a task with app In db in zone eu; c: "
    )
    (first,) = zones(colony, "x")
    colony.ok("x", "work")
    assert zones(colony, "z") == [first]


def test_each_ant_alone(colony: Colony) -> None:
    """The ant itself is a topology; both of its names mean it."""
    for key in ("ant", "kubernetes.io/hostname"):
        one = colony.define(job(f"one-{key[:3]}", apart(f"kind: {key[:3]}", key), f"{{kind: {key[:3]}}}"))
        names = [f"{key[:3]}{number}" for number in range(4)]
        for name in names:
            colony.submit(name, one)
        assert sorted(map(str, where(colony, *names))) == ["None", "a", "b", "c"]


def test_near_to_what_runs_and_the_first_of_a_group_anywhere(colony: Colony) -> None:
    """A group gathers in the zone of its first; who needs a neighbour that is not there waits, until it is."""
    cache = colony.define(job("web", near("app: cache", "zone"), "{app: web}"))
    colony.submit("lonely", cache)
    assert where(colony, "lonely") == [None]
    assert why(colony, "lonely").endswith(
        "podAffinity: no task with app In cache in zone eu; c: podAffinity: no task with app In cache in zone us"
    )
    group = colony.define(job("cache", near("app: cache", "zone"), "{app: cache}"))
    for name in ("g1", "g2", "g3", "g4", "g5"):
        colony.submit(name, group)
    assert len(set(zones(colony, "g1", "g2", "g3", "g4", "g5", "lonely"))) == 1


def test_a_grant_opens_the_way_for_what_was_refused_before_it_in_the_same_round(colony: Colony) -> None:
    """The urgent one is looked at first and refused; the other's grant lets it begin at once."""
    web = colony.define(job("web", near("app: cache"), "{app: web}", more="priority: 9"))
    cache = colony.define(job("cache", "", "{app: cache}"))
    hold = colony.define(job("hold", task="  resources: {gpu: 1}"))
    colony.submit("wait", hold)
    colony.submit("web", web)
    colony.submit("cache", cache)
    found = where(colony, "web", "cache")
    assert found[0] is not None and found[0] == found[1]


def test_others_keep_off_what_keeps_apart_from_them(colony: Colony) -> None:
    """Anti-affinity holds both ways: what runs keeps plain tasks off that its term selects."""
    quiet = colony.define(job("quiet", apart("noise: high", "zone"), more="priority: 9"))
    loud = colony.define(job("loud", "", "{noise: high}", more="scheduled_at: 2023-11-14T22:14:20Z"))
    plain = colony.define(job("plain"))
    for name in ("l1", "l2"):
        colony.submit(name, loud)
    colony.submit("q", quiet)
    (zone,) = zones(colony, "q")
    colony.advance(120.0)
    colony.submit("p", plain)
    other = "us" if zone == "eu" else "eu"
    assert zones(colony, "l1", "l2") == [other, other]
    assert zones(colony, "p") != [None]
    colony.submit("q2", quiet)
    assert zones(colony, "q2") == [zone]


def test_what_waits_without_terms_is_looked_through_when_a_term_is_new(colony: Colony) -> None:
    """All is full; the loud one waits as a plain one, then the quiet one begins and keeps it off."""
    fill = colony.define(job("fill", more="priority: 10"))
    for number in range(12):
        colony.submit(f"f{number}", fill)
    loud = colony.define(job("loud", "", "{noise: high}"))
    quiet = colony.define(job("quiet", apart("noise: high", "zone"), more="priority: 9"))
    colony.submit("l", loud)
    colony.submit("q", quiet)
    full = {name: zones(colony, name)[0] for name in (f"f{number}" for number in range(12))}
    us = [name for name, zone in full.items() if zone == "us"]
    colony.ok(us[0], "work")
    assert zones(colony, "q") == ["us"]
    colony.ok(us[1], "work")
    assert zones(colony, "l") == [None]
    assert colony.core.jobs["l"].run is None, "it has not begun in vain"
    assert "keeps it away" in why(colony, "l")
    colony.ok(next(name for name, zone in full.items() if zone == "eu"), "work")
    assert zones(colony, "l") == ["eu"]


def test_preferences_add_up(colony: Colony) -> None:
    """A weight for each neighbour, on either side; what cannot be met is no reason to wait."""
    prefers = f"{{podAffinity: {{{PREFERRED}: [{{weight: 10, podAffinityTerm: {term('app: cache', 'zone')}}}]}}}}"
    cache = colony.define(job("cache", "", "{app: cache}", task="  placement: {labels: {zone: us}}"))
    web = colony.define(job("web", prefers, "{app: web}"))
    colony.submit("c", cache)
    for number in range(4):
        colony.submit(f"w{number}", web)
    assert zones(colony, "w0", "w1", "w2", "w3") == ["us", "us", "us", "eu"]
    avoids = f"{{podAntiAffinity: {{{PREFERRED}: [{{weight: 5, podAffinityTerm: {term('app: web', 'zone')}}}]}}}}"
    spread = colony.define(job("spread", avoids))
    colony.ok("c", "work")
    colony.submit("s", spread)
    assert zones(colony, "s") == ["eu"]


def test_only_the_own_organisation_and_the_own_job(colony: Colony) -> None:
    """`matchLabelKeys: [job_id]` is about tasks of the same job: elements of a fan-out go to ants of their own."""
    fan = (
        "job_type: fan\nvariables: {list: [1, 2, 3, 4]}\ntasks:\n- task_type: each\n  method: SHELL\n  script: x\n"
        "  fan_out: {source: [1, 2, 3, 4], max_parallel: 4}\n"
        f"  affinity: {apart('task_type: each', 'ant', ', matchLabelKeys: [job_id]')}\n"
    )
    one = colony.define(fan)
    colony.submit("one", one)
    colony.submit("two", one)
    for name in ("one", "two"):
        execution = colony.core.jobs[name].run
        assert execution is not None
        ants = [run.holder.id for run in execution.elements.values() if run.holder is not None]
        assert sorted(ants) == ["a", "b", "c"]


def test_after_a_restart_it_still_holds(colony: Colony) -> None:
    """Until an ant has said where it is, what it holds counts for every zone; then it holds as before."""
    db = colony.define(job("db", apart("app: db", "zone"), "{app: db}"))
    colony.submit("x", db)
    (zone,) = zones(colony, "x")
    holder = where(colony, "x")[0]
    colony.restart()
    others = [name for name in "abc" if name != holder]
    for name in others:
        colony.join(name)
    colony.submit("y", db)
    assert where(colony, "y") == [None]
    assert "zone" in why(colony, "y")
    assert holder is not None
    colony.join(holder)
    assert zones(colony, "x", "y") in ([zone, "eu"], [zone, "us"]) and len(set(zones(colony, "x", "y"))) == 2


def test_a_lost_ant_counts_until_its_lease_ends(colony: Colony) -> None:
    db = colony.define(job("db", apart("app: db", "zone"), "{app: db}", task="  max_lost_attempts: 1"))
    cell = colony.define(job("cell", apart("app: db", "zone"), "{app: db}", more="priority: 1"))
    colony.submit("x", db)
    colony.submit("y", db)
    colony.submit("z", cell)
    (ant, zone) = where(colony, "x")[0], zones(colony, "x")[0]
    assert where(colony, "z") == [None] and ant is not None
    colony.drop(ant)
    colony.advance(1.0)
    assert where(colony, "z") == [None]
    colony.advance(11.0)
    assert zones(colony, "z") == [zone] or zones(colony, "x") == [zone]


def test_an_ant_without_the_label(colony: Colony) -> None:
    """It is in no domain: who has to be near never suits, who has to be apart always does."""
    colony.ant("d", 9)
    group = colony.define(
        job(
            "group",
            near("app: g", "zone"),
            "{app: g}",
            task="  placement: {expressions: [{key: zone, operator: DoesNotExist}]}",
        )
    )
    colony.submit("g", group)
    assert "d lacks label zone" in why(colony, "g")
    free = colony.define(job("free", apart("app: f", "zone"), "{app: f}"))
    for number in range(4):
        colony.submit(f"f{number}", free)
    assert [where(colony, f"f{number}")[0] for number in range(4)].count("d") == 2


def nodes(terms: str, prefers: str = "[]") -> str:
    return f"{{nodeAffinity: {{{REQUIRED}: {{nodeSelectorTerms: {terms}}}, {PREFERRED}: {prefers}}}}}"


def test_node_affinity_of_ants(colony: Colony) -> None:
    """Terms of nodes hold for the labels of ants and for their names."""
    us = "{matchExpressions: [{key: zone, operator: In, values: [us]}]}"
    name = "{matchFields: [{key: metadata.name, operator: In, values: [b]}]}"
    node = colony.define(job("node", nodes(f"[{us}, {name}]", f"[{{weight: 1, preference: {us}}}]")))
    for number in range(9):
        colony.submit(f"n{number}", node)
    assert [where(colony, f"n{number}")[0] for number in range(9)] == ["c"] * 4 + ["b"] * 4 + [None]
    never = colony.define(job("never", nodes(f"[{us.replace('us', 'mars')}]")))
    colony.submit("m", never)
    assert "a lacks zone In mars" in why(colony, "m")


def test_pods_are_left_to_kubernetes(colony: Colony) -> None:
    """A task that a cluster runs is placed by the cluster."""
    colony.ant("k", 2, methods=frozenset({"KUBERNETES"}))
    pod = colony.define(job("pod", apart("app: p", "zone"), "{app: p}", task="  container: {image: alpine}"))
    for name in ("x", "y"):
        colony.submit(name, pod)
    assert where(colony, "x", "y") == ["k", "k"]


def test_members_of_a_gang_keep_apart(colony: Colony) -> None:
    """All start at once, each in a zone of its own; a gang of three never does with two zones."""
    gang = "job_type: gang\ngang: job\ntasks:\n"
    member = "- task_type: w{0}\n  script: x\n  labels: {{role: worker}}\n  affinity: {1}\n"
    two = colony.define(gang + "".join(member.format(n, apart("role: worker", "zone")) for n in range(2)))
    colony.submit("g", two)
    execution = colony.core.jobs["g"].run
    assert execution is not None
    placed = [run.holder.labels["zone"] for run in execution.runs.values() if run.holder is not None]
    assert sorted(placed) == ["eu", "us"]
    three = colony.define(gang + "".join(member.format(n, apart("role: worker", "zone")) for n in range(3)))
    colony.ok("g", "w0")
    colony.ok("g", "w1")
    colony.submit("h", three)
    assert "does not fit" in why(colony, "h")


def test_a_member_of_a_gang_beside_another(colony: Colony) -> None:
    """The one that needs a neighbour is placed after the one it needs."""
    text = (
        "job_type: pair\ngang: job\ntasks:\n"
        f"- task_type: helper\n  script: x\n  affinity: {near('role: main')}\n"
        "- task_type: main\n  script: x\n  labels: {role: main}\n  placement: {labels: {zone: us}}\n"
    )
    colony.submit("p", colony.define(text))
    execution = colony.core.jobs["p"].run
    assert execution is not None
    assert [run.holder.id for run in execution.runs.values() if run.holder is not None] == ["c", "c"]


def test_terms_of_a_template_are_known_once_it_is_rendered(colony: Colony) -> None:
    """The job begins where there is room; its task goes where its terms let it."""
    text = job("made", apart('app: "{{.App}}"', "zone"), '{app: "{{.App}}"}')
    made = colony.define(text)
    for name in ("x", "y", "z"):
        colony.submit(name, made, params={"App": "db"})
    colony.submit("other", made, params={"App": "web"})
    assert sorted(map(str, zones(colony, "x", "y", "z"))) == ["None", "eu", "us"]
    assert zones(colony, "other") != [None]
