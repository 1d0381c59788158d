// From logits to a token, as aurelius/inference/sampling.py does it.

/** Return the tokens that may be drawn, and their probabilities times any common factor. */
export function candidates(logits, { temperature, minP, topK, topP }) {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  if (temperature === 0) return [[logits.indexOf(highest), 1]];
  // min-p first, where the order makes no difference: few tokens are left for the rest.
  const lowest = topP < 1 || minP === 0 ? -Infinity : highest + temperature * Math.log(minP);
  let kept = [];
  for (let id = 0; id < logits.length; id++)
    if (logits[id] >= lowest && logits[id] > -Infinity)
      kept.push([id, Math.exp((logits[id] - highest) / temperature)]);
  kept.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  if (topK > 0) kept = kept.slice(0, topK);
  if (topP < 1) {
    const total = kept.reduce((sum, [, weight]) => sum + weight, 0);
    let likelier = 0;
    kept = kept.filter(([, weight]) => {
      const inside = likelier < topP * total;
      likelier += weight;
      return inside;
    });
  }
  return kept.filter(([, weight]) => weight >= minP);
}

/** Draw one of [[token, weight], …]; `random()` is in [0, 1). */
export function draw(weighted, random) {
  let left = random() * weighted.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [id, weight] of weighted) if ((left -= weight) < 0) return id;
  return weighted[weighted.length - 1][0];
}

/** Return a generator of numbers in [0, 1) that depends on the seed alone: mulberry32 (T. Ettinger). */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Return the ids of the largest scores, the largest first. */
export function largest(scores, count) {
  const ids = [];
  for (let id = 0; id < scores.length; id++) {
    if (ids.length === count && scores[id] <= scores[ids[count - 1]]) continue;
    let place = ids.length;
    while (place > 0 && scores[ids[place - 1]] < scores[id]) place--;
    ids.splice(place, 0, id);
    ids.length = Math.min(ids.length, count);
  }
  return ids;
}

/** Return the natural logarithms of the probabilities of logits. */
export function logSoftmax(logits) {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - highest);
  const norm = highest + Math.log(total);
  return Float64Array.from(logits, (logit) => logit - norm);
}
