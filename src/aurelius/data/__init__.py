"""Stage 3: the token store, and the blocks that training reads from it."""
