"""What would happen: a discrete-event simulator of a cluster under a scheduling policy. Pure; no clock, no I/O."""
