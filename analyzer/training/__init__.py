"""Fits a head on graded prompts and measures it. Needs the `train` extra; nothing that serves imports it."""
