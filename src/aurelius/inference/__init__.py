"""Language models as evaluation and generation use them, and how they sample."""
