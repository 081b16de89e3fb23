"""True idempotency: an operation done many times has the effect of one, and gives exactly the same answer."""
