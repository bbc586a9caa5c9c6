"""Real database servers of our own, for the demo, tests and benchmarks."""
