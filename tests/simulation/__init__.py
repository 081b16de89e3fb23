"""The whole colony in one process under a seed: queen core, store, ants, network and clients, with faults."""
