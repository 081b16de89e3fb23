"""The coordinator: pure core, journal, runtime and the services it serves."""
