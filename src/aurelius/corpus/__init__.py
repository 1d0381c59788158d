"""Stage 1: the corpus, from sources of stories to a training and a validation set."""
