"""Stage 1: stories are read, cleaned, deduplicated and split."""
