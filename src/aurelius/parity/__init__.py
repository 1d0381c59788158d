"""Whether every runtime that loads the exported model computes the same."""
