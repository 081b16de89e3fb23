"""The stores of the contract tests, for tests over real sockets too."""

from tests.contract.idempotency.conftest import (
    mysql_place_url,
    place,
    postgres_database,
    postgresql_place_url,
    redis_place_url,
    shared,
)

__all__ = ["mysql_place_url", "place", "postgres_database", "postgresql_place_url", "redis_place_url", "shared"]
