"""Orders that are bought once: create, charge, allocate as one workflow behind an idempotent route."""
