"""One module per runtime; each defines ``find``."""
