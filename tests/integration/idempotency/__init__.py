"""Idempotency on real applications, servers and stores."""
