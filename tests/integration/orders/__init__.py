"""The orders example as processes."""
