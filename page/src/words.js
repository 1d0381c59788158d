// Tokens grouped into words: what a reader points at.

/** A word ends with whitespace; a change between letters and other characters begins a new one, too. */
export function beginsWord(before, piece) {
  if (!before) return true;
  return /\s$/.test(before) || isLetter(before.at(-1)) !== isLetter(piece[0] ?? before.at(-1));
}

function isLetter(character) {
  return /[\p{L}\p{M}\p{N}'\ufffd]/u.test(character);
}

/** Group tokens { id, piece, bits } into words { start, text, bits, ids, token }; no character is taken apart. */
export function words(tokens) {
  const found = [];
  tokens.forEach((token, start) => {
    const last = found.at(-1);
    const inside = start > 0 && tokens[start - 1].piece === ""; // it completes a character
    const piece = token.piece || (tokens.slice(start).find((each) => each.piece)?.piece ?? "");
    if (!last || (!inside && piece.trim() && beginsWord(last.text, piece)))
      found.push({ start, text: "", bits: 0, ids: [], token });
    const word = found.at(-1);
    word.text += token.piece;
    word.bits += token.bits ?? 0;
    word.ids.push(token.id);
  });
  return found;
}

const VERSION = 3;

/** Pack a story into the fragment of a link: variable-length numbers, the last of which checks the others. */
export function toLink({ ids, opening, ended }, model) {
  const numbers = [VERSION, opening, Number(ended), ...ids];
  const bytes = [];
  for (let number of [...numbers, checksum(numbers, model)]) {
    for (; number >= 128; number >>= 7) bytes.push((number & 127) | 128);
    bytes.push(number);
  }
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Unpack what `toLink` packed; null if it is something else, or of another model. */
export function fromLink(fragment, model) {
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
  const check = numbers.pop();
  const [version, opening, ended, ...ids] = numbers;
  if (shift || version !== VERSION || check !== checksum(numbers, model) || opening > ids.length) return null;
  return { ids, opening, ended: ended === 1 };
}

/** A checksum of numbers that depends on the model, too: FNV-1a, of which the upper 14 bits are kept. */
function checksum(numbers, model) {
  return numbers.reduce((sum, number) => Math.imul(sum ^ number, 16777619) >>> 0, model ^ numbers.length) >>> 18;
}
