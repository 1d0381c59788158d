"""The shipped recipes, as data."""
