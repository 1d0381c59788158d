"""Stage 6: one folder per runtime that loads the model."""
