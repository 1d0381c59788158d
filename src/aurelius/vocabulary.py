"""The ids that every tokenizer here begins with."""

SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<sink>")
BOS, EOS, UNK, SINK = range(4)
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))  # ids 4 to 259
