"""Rolling a model revision out on Kubernetes: a canary, a comparison under live traffic, then all replicas or none."""
