"""The router's edges: each module knows one thing of the outside world."""
