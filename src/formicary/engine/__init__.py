"""The engine: jobs, scheduling, queen, ants and storage."""
