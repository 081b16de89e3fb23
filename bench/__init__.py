"""Benchmarks of Formicary, each beside its peers in the same run.

``python -m bench.engine --output json`` measures the engine against the bars of its issue.
Every benchmark prints ``{"name", "machine", "figures", "bars", "peers"}``.
"""

import os

# A server that goes away at the end of a measurement is no news; the library reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
