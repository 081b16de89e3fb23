"""What a cron_trigger may say, and what is told about one that says something else."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from formicary.engine.jobs.cron import Cron, CronError, parse_cron
from formicary.engine.jobs.cron_reader import cron_violations
from formicary.engine.jobs.model import JobDefinition, Violation
from formicary.engine.jobs.parse import parse_source

TASKS = "tasks:\n- task_type: t\n  script: ['true']\n"


def at(text: str, zone: str = "UTC") -> float:
    """Seconds since the epoch of a wall-clock time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("30 9 * * *", "2026-11-25T09:30:00", "2026-11-26T09:30:00"),
        ("@daily", "2026-11-25T09:30:00", "2026-11-26T00:00:00"),
        ("@Hourly", "2026-11-25T09:30:00", "2026-11-25T10:00:00"),
        ("0 9 * * MON-FRI", "2026-11-27T10:00:00", "2026-11-30T09:00:00"),
        ("0 0 1 JAN *", "2026-11-27T10:00:00", "2027-01-01T00:00:00"),
        ("0 0 29 2 *", "2026-11-27T10:00:00", "2028-02-29T00:00:00"),
        ("0 0 1 1 * 2031", "2026-11-27T10:00:00", "2031-01-01T00:00:00"),
        ("*/20 * * * * * *", "2026-11-27T10:00:05", "2026-11-27T10:00:20"),
        ("0 0 13 * FRI", "2026-11-25T09:30:00", "2026-11-27T00:00:00"),
    ],
)
def test_the_next_time(text: str, after: str, then: str) -> None:
    """Five fields, six with a year, seven with seconds, names and aliases."""
    assert parse_cron(text).next(at(after)) == at(then)


def test_the_time_zone_counts_and_a_fraction_of_a_second_does_not() -> None:
    """Nine o'clock is nine o'clock there, in summer and in winter."""
    cron = parse_cron("CRON_TZ=America/New_York 0 9 * * *")
    assert cron.zone == "America/New_York"
    assert cron.next(at("2026-01-05T08:59:59", cron.zone) + 0.999) == at("2026-01-05T09:00:00", cron.zone)
    assert cron.next(at("2026-07-05T09:00:00", cron.zone)) == at("2026-07-06T09:00:00", cron.zone)


@pytest.mark.parametrize(
    ("text", "zone", "told"),
    [
        ("0 0 30 2 *", "", "never comes true"),
        ("61 * * * *", "", "out of range"),
        ("x * * * *", "", "not known"),
        ("* * * *", "", "not 4"),
        ("", "", "not 0"),
        ("@reboot", "", "@daily"),
        ("H * * * *", "", "cannot be read"),
        ("CRON_TZ=Mars/Base 0 9 * * *", "", "no time zone 'Mars/Base'"),
        ("TZ=../../etc/passwd 0 9 * * *", "", "no time zone"),
        ("TZ=UTC 0 9 * * *", "Europe/Berlin", "keep one"),
    ],
)
def test_what_is_no_schedule_is_refused_with_a_reason(text: str, zone: str, told: str) -> None:
    """A message says what is wrong."""
    with pytest.raises(CronError, match=told):
        parse_cron(text, zone=zone)


def _violations(source: str) -> tuple[Violation, ...]:
    return parse_source(source)[0].violations


def _definition(source: str) -> JobDefinition:
    definition = parse_source(source)[0].definition
    assert definition is not None, parse_source(source)[0].violations
    return definition


def test_a_job_file_says_it_in_a_text_or_in_a_mapping() -> None:
    """Both make the same schedule; policies have defaults."""
    text = _definition(f"job_type: j\ncron_trigger: CRON_TZ=Europe/Berlin 0 9 * * *\n{TASKS}")
    mapping = _definition(
        f"job_type: j\ncron_trigger:\n  schedule: 0 9 * * *\n  time_zone: Europe/Berlin\n  missed: all\n"
        f"  overlap: queue\n{TASKS}"
    )
    assert text.cron_trigger == Cron("0 0 9 * * * *", "Europe/Berlin", "last", "allow")
    assert mapping.cron_trigger == Cron("0 0 9 * * * *", "Europe/Berlin", "all", "queue")


@pytest.mark.parametrize(
    ("lines", "place", "path", "code"),
    [
        ("cron_trigger: 0 0 30 2 *", (2, 15), "cron_trigger", "BAD_CRON"),
        ("cron_trigger:\n  schedule: 0 0 31 4 *", (3, 13), "cron_trigger.schedule", "BAD_CRON"),
        ("cron_trigger:\n  missed: all", (3, 3), "cron_trigger.schedule", "MISSING_FIELD"),
        ("cron_trigger:\n  schedule: '@daily'\n  zone: UTC", (4, 3), "cron_trigger.zone", "UNKNOWN_FIELD"),
        ("cron_trigger:\n  schedule: '@daily'\n  missed: some", (4, 11), "cron_trigger.missed", "BAD_VALUE"),
        ("cron_trigger: '{{.when}}'", (2, 15), "cron_trigger", "BAD_CRON"),
        ("cron_trigger: [1, 2]", (2, 15), "cron_trigger", "WRONG_TYPE"),
    ],
)
def test_a_wrong_trigger_is_told_with_line_and_column(lines: str, place: tuple[int, int], path: str, code: str) -> None:
    """What is wrong stands where it is written."""
    found = _violations(f"job_type: j\n{lines}\n{TASKS}")
    assert [((one.line, one.column), one.path, one.code) for one in found] == [(place, path, code)]


def test_a_trigger_whose_times_have_all_passed_is_told_as_of_now() -> None:
    """The file is right, but nothing would ever start."""
    job = _definition(f"job_type: j\ncron_trigger: 0 0 1 1 * 2031\n{TASKS}")
    assert cron_violations(job, at("2030-06-01T00:00:00")) == ()
    (found,) = cron_violations(job, at("2031-06-01T00:00:00"))
    assert (found.line, found.path, found.code) == (2, "cron_trigger", "BAD_CRON")
