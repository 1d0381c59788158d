"""Stories on disk, their token ids, and the blocks that training reads."""
