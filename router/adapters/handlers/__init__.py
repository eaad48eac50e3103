"""The gRPC services of the router: from a message to the core and back, and nothing else."""
