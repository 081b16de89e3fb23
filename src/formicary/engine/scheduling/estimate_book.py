"""What a queen remembers for her estimates: run times, arrivals, open forecasts and how good the past ones were.

Theory of operation. What happens on the way of every job costs an append; `settle` works it in when somebody asks. A
forecast that was told for a job is kept until the job begins and is then compared with what happened.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from formicary.engine.scheduling.durations import Durations
from formicary.engine.scheduling.estimating import (
    Calibration,
    Forecast,
    Load,
    Question,
    Score,
    article,
)

MOST_EVENTS = 10_000
"""Ends and arrivals that are kept until somebody asks, the newest."""
MOST_OPEN = 1000
"""Forecasts that wait for their jobs; the oldest go."""


def kind_of(org: str, job_type: str) -> str:
    """The kind of a job for run times: its type in its organisation."""
    return f"{org}/{job_type}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A forecast and what belongs to it.

    Attributes:
        raw: As the plays say.
        told: As the calibration has it.
        article_s: The article's formula, seconds.
        at: When it was asked, seconds since the epoch.
    """

    raw: Forecast
    told: Forecast
    article_s: float
    at: float


class EstimateBook:
    """The memory of the estimates; it outlives a reload of the core."""

    def __init__(self) -> None:
        self.durations = Durations()
        self.calibration = Calibration()
        self.load = Load()
        self.score = Score()
        self.open: dict[str, Answer] = {}
        self.begun: dict[str, float] = {}
        """When the first task of each live job began to run."""
        self.ended: deque[tuple[str, str, float]] = deque(maxlen=MOST_EVENTS)
        """(organisation, job type, seconds) of jobs that have ended and are not worked in yet."""
        self.arrived: deque[tuple[int, str, str, float]] = deque(maxlen=MOST_EVENTS)
        """(priority, organisation, job type, time) of jobs that have come and are not worked in yet."""

    def settle(self, most: int = 2 * MOST_EVENTS) -> bool:
        """Works in what has happened since the last time: `most` of it, some 1 µs each; says whether that was all."""
        for _ in range(most):
            if self.ended:
                org, job_type, seconds = self.ended.popleft()
                self.durations.add(kind_of(org, job_type), max(0.0, seconds))
            elif self.arrived:
                priority, org, job_type, at = self.arrived.popleft()
                self.load.submitted(-priority, self.durations.mean_s(kind_of(org, job_type)), at)
            else:
                return True
        return not self.ended and not self.arrived

    def answer(self, question: Question, raw: Forecast, at: float) -> Answer:
        """What is told of a forecast, as the past ones suggest it."""
        return Answer(raw, self.calibration.apply(raw), article(question, self.durations), at)

    def keep(self, job_id: str, answer: Answer) -> None:
        """The forecast is to be compared with what happens; the first one for a job counts."""
        if job_id not in self.open:
            if len(self.open) >= MOST_OPEN:
                del self.open[next(iter(self.open))]
            self.open[job_id] = answer

    def began(self, job_id: str, at: float) -> None:
        """A job's first task runs."""
        if job_id in self.begun:
            return
        self.begun[job_id] = at
        answer = self.open.pop(job_id, None)
        if answer is not None and answer.raw.plays != (0.0,):
            wait_s = max(0.0, at - answer.at)
            self.score.add(answer.told, answer.article_s, wait_s)
            self.calibration.learn(answer.raw, answer.told, wait_s)

    def over(self, job_id: str, org: str, job_type: str, at: float) -> None:
        """A job has ended."""
        begun = self.begun.pop(job_id, None)
        if begun is not None:
            self.ended.append((org, job_type, at - begun))
        elif self.open:
            self.open.pop(job_id, None)
