"""A fan-out and a fork in Python: towns that are found when the job runs, measured two at a time, and a parcel sent.

formicary run examples/jobs/census_job.py:census -p count=4
"""

from formicary import job, task
from formicary.dsl import fork, join


@task
def find(count: int) -> list[str]:
    """Finds towns; how many there are is known only now."""
    return ["Tallinn", "Tartu", "Narva", "Valga"][:count]


@task(retry=2, timeout="30s")
def measure(town: str) -> int:
    """Runs once per town: measure[0], measure[1], …; each has its own retries."""
    return len(town)


@task
def wrap(thing: str) -> str:
    """Wraps a thing."""
    return f"a parcel with {thing}"


@job
def parcel(thing: str) -> str:
    """A job that another one starts; it is registered with that one."""
    return wrap(thing)


@task
def report(lengths: list[int], sent: dict[str, object]) -> dict[str, object]:
    """Takes the results in the order of the towns, and what the other job gave."""
    return {"letters": sum(lengths), "sent": sent["result"]}


@job
def census(count: int = 3) -> dict[str, object]:
    """Counts the letters of towns, and sends a parcel meanwhile."""
    sent = fork(parcel, thing="maps")
    lengths = measure.fan_out(find(count), max_parallel=2)
    return report(lengths, join(sent))


if __name__ == "__main__":
    print(census.run().check().value)
