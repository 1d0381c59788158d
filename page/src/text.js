// Text to ids and back, by Hugging Face's own tokenizers in JavaScript.
import { Tokenizer } from "@huggingface/tokenizers";

const CONTEXT = 8; // ids before a new one that are decoded with it
const INCOMPLETE = "\ufffd"; // what the first bytes of a character decode to

export class Text {
  constructor({ tokenizer, prefix, end }) {
    // Without the added tokens, a special token that is typed is text.
    this.tokenizer = new Tokenizer({ ...tokenizer, added_tokens: [] }, {});
    this.prefix = prefix;
    this.end = end;
    this.special = new Set(tokenizer.added_tokens.filter((token) => token.special).map((token) => token.id));
    this.bytes = tokenBytes(tokenizer, this.special);
    this.suffixSpace = this.findSuffixSpace();
  }

  encode(text) {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** Split a text, as it is, into the pieces that are encoded one by one. */
  split(text) {
    return this.tokenizer.pre_tokenizer?.pre_tokenize([text]) ?? [text];
  }

  /** Split a text as it is encoded: its end is normalised. */
  words(text) {
    const { normalizer } = this.tokenizer;
    return this.split(normalizer ? normalizer.normalize(text) : text);
  }

  decode(ids) {
    const how = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
    return ids.length ? this.tokenizer.decode(ids, how) : "";
  }

  /** Return what each id adds to the text; "" for the first bytes of a character, unless a whole text ends so. */
  pieces(ids, whole = true) {
    const pieces = [];
    let read = 0;
    ids.forEach((_, i) => {
      const from = Math.max(0, read - CONTEXT);
      const known = this.decode(ids.slice(from, read));
      const text = this.decode(ids.slice(from, i + 1));
      if (text.endsWith(INCOMPLETE) && (!whole || i + 1 < ids.length)) return pieces.push("");
      pieces.push(text.slice(known.length));
      read = i + 1;
    });
    return pieces;
  }

  /** Whether a word's token carries its trailing space, so that prompts need their end healed. */
  findSuffixSpace() {
    const ids = this.encode("a dog");
    const spelt = new TextDecoder().decode(joined(ids.map((id) => this.bytes[id] ?? new Uint8Array())));
    return spelt === "a dog " && String(ids) === String(this.encode("a dog "));
  }
}

function tokenBytes({ model }, special) {
  const bytes = [];
  const encoder = new TextEncoder();
  for (const [token, id] of Object.entries(model.vocab)) {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
    bytes[id] = byte ? Uint8Array.of(parseInt(byte[1], 16)) : encoder.encode(token);
  }
  for (const id of special) bytes[id] = new Uint8Array();
  return Array.from(bytes, (value) => value ?? new Uint8Array());
}

/** Concatenate byte arrays. */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
