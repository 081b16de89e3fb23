"""A to-do list as a service: one definition, the same methods and errors over gRPC and REST."""
