"""The core's configuration: values that cannot work together are refused, all at once."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.config import CoreConfig


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2, 1.0, 3.0, 60.0])
def test_the_usual_times_can_be_scaled(share: float) -> None:
    config = CoreConfig()
    CoreConfig(
        lease_s=config.lease_s * share,
        reconnect_grace_s=config.reconnect_grace_s * share,
        beat_interval_s=config.beat_interval_s * share,
    )


@pytest.mark.parametrize(
    ("lease_s", "grace_s", "beat_s", "words"),
    [
        (10.0, 11.0, 1.0, "reconnect_grace_s is 11: it must be at most lease_s, 10"),
        (3.0, 3.0, 1.2, "beat_interval_s is 1.2: it must be at most 1, a third of lease_s"),
        (10.0, 3.0, 1.6, "beat_interval_s is 1.6: it must be at most 1.5, three quarters of"),
        (10.0, 1.0, 0.5, "beat_interval_s is 0.5: it must be at most 0.375, three quarters of"),
        (10.0, 3.0, 0.0, "beat_interval_s is 0.0: it must be above 0"),
        (float("nan"), 3.0, 1.0, "lease_s is nan: it must be above 0"),
    ],
)
def test_times_that_cannot_work_together_are_refused(lease_s: float, grace_s: float, beat_s: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CoreConfig(lease_s=lease_s, reconnect_grace_s=grace_s, beat_interval_s=beat_s)


def test_every_error_is_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        CoreConfig(lease_s=2.0, reconnect_grace_s=3.0, beat_interval_s=5.0, prefetch=0, slice_decisions=-1)
    text = str(caught.value)
    assert [text.count(name) for name in ("prefetch is 0", "slice_decisions is -1", "reconnect_grace_s is 3")] == [
        1
    ] * 3
    assert text.count("beat_interval_s is 5") == 2
