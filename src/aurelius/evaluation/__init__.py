"""Stage 5: how good the trained model is, on stories it has not seen."""
