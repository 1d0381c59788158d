"""The recipe: what a run is made of, checked once and written out in full."""
