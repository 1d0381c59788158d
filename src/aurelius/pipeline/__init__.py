"""Which stage is due, and the run folder."""
