"""Pure room: job definitions, templates, the task graph and the life-cycle tables. No I/O, no clock, no randomness."""
