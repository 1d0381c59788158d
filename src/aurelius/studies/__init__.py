"""A study: a grid of trainings that answers one question, with paired statistics."""
