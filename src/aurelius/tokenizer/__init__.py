"""Stage 2: the suffix-space BPE tokenizer."""
