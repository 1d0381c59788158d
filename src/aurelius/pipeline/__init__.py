"""Which stage is due, and where everything in a run folder is."""
