"""Does a model of the storyteller keep its characters apart? Names that turn up without an introduction.

    python benchmarks/names.py runs/demo

Twenty stories with the seeds 0 to 19, begun as in `make demo`; a story counts if it has at least 60 words and
ended by itself.
"""

import argparse
import json

from aurelius.corpus.storyteller.names import not_introduced
from aurelius.inference.generate import generate
from aurelius.inference.open_model import open_model

PROMPT = "One day, a little girl"
LEAST_WORDS, MOST_TOKENS = 60, 600


def main() -> None:
    """Write the stories, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a run, or a folder in Hugging Face format")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--show", action="store_true", help="print the stories, too")
    options = parser.parse_args()
    model = open_model(options.model)
    counted, kept, missing = 0, 0, []
    for seed in range(options.seeds):
        written = generate(model, options.prompt, seed=seed, max_new_tokens=MOST_TOKENS).finish()
        story, ended = written.text, written.ended
        strangers = not_introduced(story)
        if ended and len(story.split()) >= LEAST_WORDS:
            counted += 1
            kept += not strangers
        missing.append(len(strangers))
        if options.show:
            print(f"{story}\n[{seed}: not introduced: {', '.join(strangers) or 'nobody'}]\n")
    print(json.dumps({"stories": counted, "without_strangers": kept, "strangers": missing}))


if __name__ == "__main__":
    main()
