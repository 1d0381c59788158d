// llama.cpp by way of node-llama-cpp: computes a task file (see ../runtime.py).
import { readFileSync, writeFileSync } from "node:fs";
import { getLlama, getModuleVersion } from "node-llama-cpp";

const task = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.execArgv = []; // of the test process that getLlama starts: this script came by stdin, that one does not
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", progressLogs: false });
const model = await llama.loadModel({ modelPath: task.model });
// A context that is filled to the last position would be shifted.
// Attention in float32: llama.cpp's flash attention rounds to float16 on a CPU, more than everything else does.
const context = await model.createContext({
  contextSize: task.context + 8,
  sequences: 1,
  threads: task.threads,
  flashAttention: false,
  experimentalKvCacheKeyType: "F32",
  experimentalKvCacheValueType: "F32",
});
const sequence = context.getSequence();

const ids = task.normalised.map((text) => model.tokenize(text, false));

async function logits(tokens) {
  await sequence.clearHistory();
  const rows = await sequence.controlledEvaluate(
    tokens.map((token) => [token, { generateNext: { logits: true } }]),
  );
  const out = new Float32Array(tokens.length * task.vocab_size);
  rows.forEach((row, t) => row.next.logits.forEach((value, token) => (out[t * task.vocab_size + token] = value)));
  return out;
}

for (const [n, tokens] of task.sequences.entries())
  writeFileSync(`${task.out}/logits-${n}.f32`, Buffer.from((await logits(tokens)).buffer));

async function story(opening) {
  await sequence.clearHistory();
  const tokens = [];
  for await (const token of sequence.evaluate(opening, { temperature: 0, yieldEogToken: true })) {
    tokens.push(token);
    if (tokens.length === task.max_new_tokens || model.isEogToken(token)) break;
  }
  return tokens;
}

const greedy = [];
const started = performance.now();
for (const opening of task.openings) greedy.push(await story(opening));
const seconds = (performance.now() - started) / 1000;
const version = await getModuleVersion();
const release = llama.llamaCppRelease?.release ?? "unknown";
writeFileSync(
  `${task.out}/answers.json`,
  JSON.stringify({ version: `${release} (node-llama-cpp ${version})`, ids, greedy, seconds }),
);
process.exit(0);
