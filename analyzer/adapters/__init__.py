"""Borders of the analyzer: each module wraps one third-party thing."""
