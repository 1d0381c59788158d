"""Models from elsewhere, as runs."""
