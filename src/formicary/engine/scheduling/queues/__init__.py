"""Queues of the live colony: their configuration, how it is read, and the decisions by it."""
