"""Models that evaluate and generate, and how they sample."""
