"""The timer wheel against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.queen.core.timers import Timer, TimerWheel

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(-5, 200, allow_nan=False)),
        st.tuples(st.just("near"), st.floats(0, 3, allow_nan=False)),
        st.tuples(st.just("cancel"), st.floats(0, 1)),
        st.tuples(st.just("pass"), st.floats(0, 30)),
    ),
    max_size=80,
)


@given(STEPS)
def test_the_wheel_fires_like_a_sorted_list(steps: list[tuple[str, float]]) -> None:
    """Every timer fires once, in order of due time, never early, never when cancelled, and is announced in time."""
    wheel, now, number = TimerWheel(), 0.0, 0
    slow: dict[int, tuple[float, Timer]] = {}
    for what, value in steps:
        if what in ("set", "near"):
            due = value if what == "set" else now + value
            number += 1
            slow[number] = (due, wheel.set(due, number))
        elif what == "cancel" and slow:
            key = sorted(slow)[int(value * (len(slow) - 1))]
            slow.pop(key)[1].cancel()
        elif what == "pass":
            now += value
            expected = sorted((due, key) for key, (due, _) in slow.items() if due <= now)
            fired = list(wheel.due(now))
            assert sorted(fired) == sorted(key for _, key in expected)
            assert [slow[key][0] for key in fired] == [due for due, _ in expected]
            for key in fired:
                del slow[key]
        first = min((due for due, _ in slow.values()), default=None)
        announced = wheel.next_due()
        assert (announced is None) == (first is None)
        assert announced is None or first is None or announced <= first


@given(st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=20))
def test_a_timer_cancelled_by_an_earlier_one_does_not_fire(dues: list[float]) -> None:
    """What the first of several due timers cancels stays silent."""
    wheel = TimerWheel()
    timers = [wheel.set(due, number) for number, due in enumerate(dues)]
    fired = []
    for number in wheel.due(100.0):
        fired.append(number)
        for timer in timers:
            timer.cancel()
    assert fired == [min(range(len(dues)), key=lambda number: dues[number])]
