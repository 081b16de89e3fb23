"""The server: one process with queen, gRPC and HTTP ports, which supervises the local ants (``formicary up``)."""
