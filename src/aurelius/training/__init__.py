"""Stage 4: from tokens to a trained checkpoint."""
