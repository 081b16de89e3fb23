"""The functions of the ETL example by themselves: they know nothing of the engine."""

import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests import components

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "jobs" / "etl"
LINE = (
    "1962   1   1   0  37665.00   -0.012700    0.213000   0.0326338    0.000000    0.000000    0.000000    0.000000"
    "   0.0017230    0.030000    0.030000   0.0020000    0.004774    0.002000    0.000000    0.000000   0.0014000"
)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import earth_rotation

    yield earth_rotation
    for name in ("earth_rotation", "line_chart"):
        sys.modules.pop(name, None)


def test_a_row_of_the_series_is_read_by_its_columns(steps: ModuleType) -> None:
    """Columns are fixed; comments are passed over."""
    (row,) = steps.read_series(["# a comment", LINE])
    assert (row[0].isoformat(), *row[1:]) == ("1962-01-01", 0.001723, -0.0127, 0.213)


def test_the_whole_way_over_the_real_series(steps: ModuleType, tmp_path: Path) -> None:
    """1972 to 1974 have three years of days, a mean near 3 ms, and a chart that is XML."""
    components.require("iers-data")
    out = str(tmp_path)
    data = steps.extract(out, 1972, 1974)
    assert data["rows"] == 366 + 365 + 365
    assert steps.validate(data, 1972, 1974) == {"checked": 1096}
    years = [steps.summarise_year(data, year, out) for year in (1974, 1972, 1973)]
    summary = steps.combine(years, out)
    assert (summary["first"], summary["last"]) == (1972, 1974)
    assert 2.5 < summary["mean_ms"] < 3.5
    drawn = steps.chart(summary, out)
    text = Path(drawn["chart"]).read_text()
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    report = steps.report(summary, data, drawn["chart"], out)
    assert "](length_of_day.svg)" in Path(report["report"]).read_text()


def test_broken_data_is_refused_with_every_mistake(steps: ModuleType, tmp_path: Path) -> None:
    """A missing day, an impossible length, an early end: all of them are in one message."""
    folder = tmp_path / "years"
    folder.mkdir()
    (folder / "1962.csv").write_text(
        "day,lod_ms,pole_x,pole_y\n1962-01-01,1.5,0,0\n1962-01-03,99.0,0,0\n1962-01-04,1.5,0,3.5\n"
    )
    with pytest.raises(ValueError, match="4 mistakes in 3 days") as caught:
        steps.validate({"folder": str(folder)}, 1962, 1962)
    for part in ("1962-01-03 comes where 1962-01-02 should be", "99.0 ms too long", "0, 3.5 arc", "not 1962-12-31"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("least", "most"), [(-1.6, 4.4), (0, 0), (0.001, 0.0011), (-5000, 12)])
def test_ticks_are_round_and_enclose_the_values(steps: ModuleType, least: float, most: float) -> None:
    """Whatever the range, a handful of ticks enclose it."""
    import line_chart

    ticks = line_chart.nice_ticks(least, most)
    assert ticks[0] <= least and ticks[-1] >= most and len(ticks) <= 12
