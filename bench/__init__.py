"""Benchmarks of Formicary, each beside its peers in the same run.

``python -m bench.engine --output json`` measures the engine against the bars of its issue.
Every benchmark prints ``{"name", "machine", "figures", "bars", "peers"}``.
"""
