"""Delivers notices: by e-mail, webhook and slack, at least once, from the store."""
