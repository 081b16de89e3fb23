"""The job of ``earth_rotation.yaml`` in Python: the same tasks, the same result.

formicary run examples/jobs/etl/earth_rotation_job.py:earth_rotation -p first=1990
python examples/jobs/etl/earth_rotation_job.py     # without anything stored, in this process
"""

import earth_rotation as steps

from formicary import job, task
from formicary.dsl import after

extract = task(retry=2, timeout="2m")(steps.extract)
validate = task(timeout="2m")(steps.validate)
summarise_year = task(name="year", retry=2)(steps.summarise_year)
combine = task(steps.combine)
chart = task(steps.chart)
report = task(steps.report)


@job(name="earth-rotation", timeout="10m")
def earth_rotation(
    first: int = 1962, last: int = 2024, out: str = "build/earth-rotation", pace: float = 0.0
) -> dict[str, str]:
    """Draws how the length of the day has changed, from the IERS series since 1962."""
    data = extract(out, first, last)
    checked = validate(data, first, last)
    years = summarise_year.map(range(first, last + 1), data=data, out=out, pace=pace)
    for year in years:
        after(year, checked)
    summary = combine(years, out)
    drawn = chart(summary, out)
    return report(summary, data, drawn["chart"], out)


if __name__ == "__main__":
    print(earth_rotation.run().check().value)
