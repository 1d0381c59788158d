"""Stages 2 and 3: the suffix-space BPE tokenizer, and stories as token ids."""
