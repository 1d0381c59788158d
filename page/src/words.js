// Tokens grouped into words: what a reader points at.

/** A word ends with whitespace; a change between letters and other characters begins a new one, too. */
export function beginsWord(before, piece) {
  if (!before) return true;
  return /\s$/.test(before) || isLetter(before.at(-1)) !== isLetter(piece[0] ?? before.at(-1));
}

function isLetter(character) {
  return /[\p{L}\p{M}\p{N}'\ufffd]/u.test(character);
}

/** Group tokens { id, piece, bits, alternatives } into words { start, text, bits, ids }. */
export function words(tokens) {
  const found = [];
  tokens.forEach((token, start) => {
    const last = found.at(-1);
    if (!last || beginsWord(last.text, token.piece)) found.push({ start, text: "", bits: 0, ids: [], token });
    const word = found.at(-1);
    word.text += token.piece;
    word.bits += token.bits ?? 0;
    word.ids.push(token.id);
  });
  return found;
}

/** Pack ids, and how many of them are the opening, into the fragment of a link: variable-length numbers. */
export function toLink(ids, opening) {
  const bytes = [];
  for (let number of [1, opening, ...ids]) {
    for (; number >= 128; number >>= 7) bytes.push((number & 127) | 128);
    bytes.push(number);
  }
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Unpack what `toLink` packed; null if it is something else. */
export function fromLink(fragment, vocabulary) {
  let bytes;
  try {
    bytes = atob(fragment.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
  const numbers = [];
  let number = 0;
  let shift = 0;
  for (const character of bytes) {
    const byte = character.charCodeAt(0);
    number |= (byte & 127) << shift;
    shift += 7;
    if (byte < 128) {
      numbers.push(number);
      number = shift = 0;
    }
  }
  const [version, opening, ...ids] = numbers;
  const fits = version === 1 && shift === 0 && opening <= ids.length && ids.length;
  return fits && ids.every((id) => id < vocabulary) ? { ids, opening } : null;
}
