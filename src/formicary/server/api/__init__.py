"""The engine's API: thin servicers over one queen, the same for gRPC and REST."""
