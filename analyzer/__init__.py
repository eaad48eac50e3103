"""The analyzer: says how hard a prompt is, with a tiny language model on the CPU."""
