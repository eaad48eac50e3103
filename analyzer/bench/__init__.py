"""Measures an analyzer: load generators, histograms, reports. Nothing in the service imports it."""
