// The model's own thread: it answers one request at a time; a newer request, or "stop", ends a story.
import { Llama } from "./llama.js";
import { unpack } from "./model.js";
import { randomNumbers } from "./sampling.js";
import { Text } from "./text.js";
import { Writer } from "./writer.js";

let writer;
let text;
let current = 0;

/** Let newer messages in; unlike a timeout, which browsers stretch, this takes no time. */
function pause() {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(port1.close());
    port2.postMessage(null);
  });
}

async function open({ model }) {
  const unpacked = await unpack(model);
  text = new Text(unpacked.header);
  writer = new Writer(new Llama(unpacked), text, unpacked.header.suppressed);
  return { type: "ready" };
}

/** Write after a prompt, or after ids; send every token as it comes. */
async function write(request) {
  const random = randomNumbers(request.seed);
  const start = request.ids
    ? { ids: request.ids, blocked: [] }
    : writer.begin(request.prompt, request.sampling, random);
  const ids = [...start.ids];
  const pieces = text.pieces(ids);
  const tokens = ids.map((id, i) => ({ id, piece: pieces[i] }));
  if (request.ids) for (const token of writer.replay(ids, request.known)) Object.assign(tokens[request.known++], token);
  send(request, "begun", { tokens });
  if (request.ended) return send(request, "done", { ended: true });
  let last = performance.now();
  for (const token of writer.write(start.ids, request.sampling, random, start.blocked)) {
    if (token.id === text.end) return send(request, "done", { ended: true });
    ids.push(token.id);
    send(request, "token", { ...token, piece: text.pieces(ids.slice(-12), false).at(-1) });
    if (performance.now() - last > 12) {
      await pause();
      last = performance.now();
    }
    if (request.number !== current) return;
  }
  send(request, "done", { ended: false });
}

/** Send what is known of given ids, such as those of a link. */
async function replay(request) {
  const pieces = text.pieces(request.ids);
  const tokens = [...writer.replay(request.ids)].map((token, i) => ({ ...token, piece: pieces[i] }));
  send(request, "replayed", { tokens });
}

/** Send a word's alternatives, completed to words, and where the model looked. */
async function inspect(request) {
  const before = request.ids.slice(-8);
  const alternatives = request.alternatives.map(([id, probability]) => {
    const own = id === request.word[0];
    const { ids, share } = own ? { ids: request.word } : writer.completed(request.ids, id);
    const word = id === text.end ? "" : text.pieces([...before, ...ids]).slice(before.length).join("");
    return { ids, probability: own ? request.probability : probability * share, word, ends: id === text.end };
  });
  send(request, "inspected", { alternatives, attention: writer.attention(request.ids, request.opening) });
}

/** Send the bits per byte of a text, as far as the model can see. */
async function score(request) {
  const ids = text.encode(request.text);
  let bits = 0;
  let count = 0;
  for (const token of writer.replay(ids)) {
    bits += token.bits;
    count++;
    if (count % 16 === 0) await pause();
    if (request.number !== current) return;
  }
  const whole = count === ids.length;
  const read = whole ? request.text : text.decode(ids.slice(0, count));
  const bytes = new TextEncoder().encode(read).length;
  send(request, "scored", { bitsPerByte: bits / bytes, bytes, whole });
}

const ACTIONS = { open, write, replay, inspect, score, stop: async () => {} };

function send(request, type, values) {
  postMessage({ type, number: request.number, ...values });
}

onmessage = async ({ data: request }) => {
  current = request.number;
  try {
    const answer = await ACTIONS[request.type](request);
    if (answer) postMessage({ ...answer, number: request.number });
  } catch (error) {
    send(request, "failed", { message: error.message });
  }
};
