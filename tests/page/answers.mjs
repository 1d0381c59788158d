// What the page's engine computes for a task: node answers.mjs PAGE TASK, the answers on standard output.
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Llama } from "../../page/src/llama.js";
import { unpack } from "../../page/src/model.js";
import { endOf, findPaths } from "../../page/src/prompt_end.js";
import { candidates } from "../../page/src/sampling.js";
import { Text } from "../../page/src/text.js";
import { fromLink, toLink } from "../../page/src/words.js";
import { Reader, Writer } from "../../page/src/writer.js";

const [page, task] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const { texts, sequences, opening, greedy, prompts, samplings } = JSON.parse(task);
const model = await unpack(/id="model"[^>]*>([^<]*)</.exec(page)[1]);
const text = new Text(model.header);
const llama = new Llama(model);
const writer = new Writer(llama, text, model.header.suppressed);

const logits = sequences.map((ids) => ids.map((id, position) => Array.from(llama.forward(id, position))));
const begun = performance.now();
const story = [];
for (const { id } of writer.write(opening, { temperature: 0 }, Math.random)) {
  if (id === text.end || story.push(id) === greedy) break;
}
const rate = story.length / ((performance.now() - begun) / 1000);
const paths = prompts.map((prompt) => {
  const end = endOf(text, prompt, text.encode(prompt));
  return end && findPaths(new Reader(llama), text, end, model.header.suppressed);
});
writer.reader.ids = []; // the searches above have used the same model
const attention = writer.attention(sequences[0].slice(text.prefix.length, 20), 5);
const shared = { ids: sequences[0], opening: 3, ended: true };
const fragment = toLink(shared, 77);
const link = fromLink(fragment, 77);
const damaged = [fragment.slice(0, -4), `${fragment.slice(0, 20)}B${fragment.slice(21)}`, "", "!"].map((each) => fromLink(each, 77));
damaged.push(fromLink(fragment, 78));
console.log(
  JSON.stringify({
    ids: texts.map((each) => text.encode(each)),
    decoded: texts.map((each) => text.decode(text.encode(each))),
    pieces: texts.map((each) => text.pieces(text.encode(each)).join("")),
    logits, story, rate, paths, attention, link, damaged,
    candidates: samplings.map(([scores, sampling]) => candidates(Float64Array.from(scores), sampling)),
  }),
);
