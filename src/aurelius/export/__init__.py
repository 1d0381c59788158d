"""Stage 6: one folder for each runtime that loads the model."""
