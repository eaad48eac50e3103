"""The command line of the router."""
