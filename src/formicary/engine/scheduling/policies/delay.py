"""Delay scheduling: a job gives up its turn for a short while to run where its data is.

A job whose turn it is and that finds no free ant with its data is passed over; after `node_wait_s` it takes an ant in
the same rack, after `rack_wait_s` more any ant. The wait has an upper bound, so nobody starves for locality's sake.

Source: Zaharia, Borthakur, Sen Sarma, Elmeleegy, Shenker, Stoica, "Delay Scheduling: A Simple Technique for Achieving
Locality and Fairness in Cluster Scheduling", EuroSys 2010 (algorithms 2 and 3; section 4 for the wait that a wanted
locality needs).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

NODE, RACK, ANY = 0, 1, 2
"""Levels of locality, nearest first."""


@dataclass(frozen=True, slots=True)
class LocalityWait:
    """How long a job may be passed over.

    Args:
        node_wait_s: For its own ant.
        rack_wait_s: Then for one in the same rack.
        most_s: Upper bound of both together.
    """

    node_wait_s: float = 5.0
    rack_wait_s: float = 5.0
    most_s: float = 30.0

    def level(self, waited_s: float) -> int:
        """The farthest level that the job accepts after it has been passed over for so long."""
        if waited_s >= min(self.most_s, self.node_wait_s + self.rack_wait_s):
            return ANY
        return RACK if waited_s >= min(self.most_s, self.node_wait_s) else NODE

    def accepts(self, level: int, waited_s: float) -> bool:
        """True where a free ant at this level is taken now."""
        return level <= self.level(waited_s)


def worth_waiting_s(benefit_s: float, most_s: float) -> float:
    """min(max_wait, expected benefit): never wait longer than running near the data saves."""
    return max(0.0, min(benefit_s, most_s))


def skips_for(locality: float, ants: int, replicas: int, slots: int) -> int:
    """How often a job must be passed over to reach a locality.

    Args:
        locality: Wanted part of local tasks, below 1.
        ants: In the cluster.
        replicas: Ants that hold each block.
        slots: Per ant.

    Returns:
        D of section 4.1 for a small job: each free slot is local with chance replicas/ants, so that
        1 - (1 - replicas/ants)^D >= locality; slots come free `slots` to an ant.

    Raises:
        ValueError: A figure out of range.
    """
    if not 0 <= locality < 1 or ants < 1 or replicas < 1 or slots < 1:
        raise ValueError("locality must be 0 to below 1, ants, replicas and slots at least 1")
    miss = 1 - min(1.0, replicas / ants)
    return 0 if locality == 0 else 1 if miss == 0 else ceil(log(1 - locality) / log(miss))


def wait_for(locality: float, ants: int, replicas: int, slots: int, task_s: float) -> float:
    """Seconds of the wait that gives a locality: one slot of the cluster comes free every `task_s / (ants x slots)`."""
    return skips_for(locality, ants, replicas, slots) * task_s / (ants * slots)
