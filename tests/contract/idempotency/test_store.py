"""What every store must do: the rules of rules.py on each of them."""

from __future__ import annotations

import pytest

from tests.contract.idempotency.places import Place, on
from tests.contract.idempotency.rules import RULES, Rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_store_follows(rule: Rule, place: Place) -> None:
    on(place, lambda store: rule(place, store))
