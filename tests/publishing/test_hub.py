"""Publishing, against a small stand-in of the hub that `HF_ENDPOINT` names."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from aurelius.cli.main import main
from aurelius.config.recipe import Recipe
from aurelius.corpus import storyteller
from aurelius.errors import HubError, RecipeError, RunError
from aurelius.export import card
from aurelius.parity import remembered
from aurelius.parity.remembered import check_once
from aurelius.pipeline.run import run as run_pipeline
from aurelius.publishing import hub
from aurelius.publishing.fluency import shares, word_salad
from aurelius.run_paths import RunPaths
from tests.conftest import serving

TOKEN = "hf_secretSecretSecretSecret"
MEMBER = {"_id": "1", "type": "model", "position": 0, "id": "someone/tales"}
COLLECTION = {
    "slug": "someone/tiny",
    "title": "Tiny",
    "owner": {"name": "someone"},
    "items": [MEMBER],
    "lastUpdated": "2026-01-01T00:00:00.000Z",
    "position": 0,
    "private": False,
    "theme": "blue",
    "upvotes": 0,
    "description": "",
}


LEFT = ["tiny-Q8_0.gguf", "by-hand.gguf", "deep/tiny-Q8_0.gguf", "onnx/other.onnx"]  # in the repository


class Hub(BaseHTTPRequestHandler):
    """Takes repositories, files and members of collections, and keeps them."""

    files: dict[str, int] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    deleted: list[str] = []  # noqa: RUF012
    fails: dict[str, list[int]] = {}  # noqa: RUF012  statuses to answer with first, by part of the path
    made: dict = {}  # noqa: RUF012
    public = False  # whether a public repository of that name is there already

    def do_GET(self) -> None:
        if self.path == "/api/models/someone/tales" and (Hub.public or Hub.made):
            return self.reply({"id": "someone/tales", "private": not Hub.public and private()})
        if "/tree/" in self.path:
            return self.reply([{"type": "file", "path": p, "oid": "0" * 40, "size": 1} for p in LEFT])
        self.reply({"error": "Repository not found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Hub.asked.append(self.path)
        for part, statuses in Hub.fails.items():
            if part in self.path and statuses:
                return self.reply({"error": "out of order"}, statuses.pop(0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply({"error": "Invalid token"}, 401)
        home = f"http://{self.headers['Host']}/someone/tales"
        if self.path == "/api/repos/create":
            Hub.made = json.loads(body)
            self.reply({"url": home, "name": "someone/tales"}, 409 if Hub.public else 200)
        elif "/preupload/" in self.path:
            sizes = {file["path"]: file["size"] for file in json.loads(body)["files"]}
            modes = [
                {"path": path, "uploadMode": "lfs" if size > 40_000 else "regular", "shouldIgnore": False}
                for path, size in sizes.items()
            ]
            self.reply({"files": modes})
        elif self.path.endswith("/objects/batch"):
            found = json.loads(body)["objects"]
            upload = {"upload": {"href": f"{home}/put"}}
            self.reply({"transfer": "basic", "objects": [{**f, "actions": upload} for f in found]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "deletedFile":
                    Hub.deleted.append(line["value"]["path"])
                if line["key"] in ("file", "lfsFile"):
                    Hub.files[line["value"]["path"]] = line["value"].get("size", -1)
            self.reply({"success": True, "commitOid": "c" * 40, "commitUrl": f"{home}/commit/{'c' * 40}"})
        elif self.path.startswith("/api/collections/"):
            self.reply(COLLECTION)
        elif self.path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        else:
            self.reply({"error": "unknown"}, 404)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply({})

    def reply(self, answer: dict | list, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args) -> None:
        pass


def private() -> bool:
    """Whether a private repository was made, as old and new versions of the library ask for it."""
    return bool(Hub.made.get("private")) or Hub.made.get("visibility") == "private"


@pytest.fixture
def server() -> Iterator[str]:
    Hub.files, Hub.asked, Hub.fails, Hub.made, Hub.public = {}, [], {}, {}, False
    with serving(Hub) as address:
        yield address


@pytest.fixture(scope="module")
def exported(tiny, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("publish") / "tiny"))
    return run_pipeline(tiny, copy, to=("onnx", "gguf"), device="cpu").folder


def publish(
    run: Path, home: Path, server: str, *more: str, token: str = TOKEN
) -> subprocess.CompletedProcess:
    """Run the command as a user does; the library reads its endpoint when it is imported."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "AURELIUS_"))}
    env = clean | {"HF_ENDPOINT": server, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    env |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "aurelius", "publish", str(run), "someone/tales", *more]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_a_dry_run_shows_everything_and_sends_nothing(exported: Path, tmp_path: Path, server: str):
    done = publish(exported, tmp_path, server)
    assert done.returncode == 0, done.stderr
    for words in (
        "README.md",
        "onnx/model_quantized.onnx",
        "tiny-F16.gguf",
        "nothing was sent",
        "left them: tiny-Q8_0",
        "repository          someone/tales, public if it is created now",
        "collection          none",
        "licence of weights  none stated",
        "licence of corpus   storyteller: made up by Aurelius's own storyteller",
    ):
        assert words in done.stdout
    assert "--license" in done.stderr and "for the corpus" not in done.stderr
    more = ("--private", "--collection", "someone/tiny", "--license", "mit")
    done = publish(exported, tmp_path, server, *more)
    for words in (
        "someone/tales, private if it is created now",
        "collection          someone/tiny",
        "licence of weights  mit",
    ):
        assert words in done.stdout
    assert "--license" not in done.stderr
    assert Hub.asked == []


def test_only_what_the_export_wrote_is_published(exported: Path, tmp_path: Path, server: str):
    folder = exported / "export/huggingface"
    (folder / "notes.txt").write_text("private")
    (folder / "old").mkdir()
    (folder / "old/weights.bin").write_text("private")
    try:
        done = publish(exported, tmp_path, server, "--dry-run")
    finally:
        (folder / "notes.txt").unlink()
        shutil.rmtree(folder / "old")
    assert done.returncode == 0, done.stderr
    assert "nothing was sent" in done.stdout
    assert "notes.txt" not in done.stdout and "weights.bin" not in done.stdout
    assert not {p.name for p in (exported / "export/hub").rglob("*")} & {"notes.txt", "weights.bin"}


def test_what_was_compared_before_is_not_compared_again(exported: Path, monkeypatch: pytest.MonkeyPatch):
    (exported / "export/parity.json").unlink(missing_ok=True)
    first = check_once(exported)
    monkeypatch.setattr(remembered, "check", lambda *_: pytest.fail("compared again"))
    assert check_once(exported) == first
    monkeypatch.setattr(remembered, "check", lambda *_: ([], ["asked"]))
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "versions", lambda _packages: {"torch": "0"})
        assert check_once(exported) == ([], ["asked"]), "other versions"
    weights = exported / "export/huggingface/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert check_once(exported) == ([], ["asked"]), "another content of the same size"
    finally:
        weights.write_bytes(whole)
    (exported / "export/parity.json").write_text("damaged")
    assert check_once(exported) == ([], ["asked"])
    (exported / "export/parity.json").unlink()


def test_word_salad_is_named(exported: Path, tmp_path: Path, server: str):
    done = publish(exported, tmp_path, server)
    assert "does not write sentences yet" in done.stderr
    copy = Path(shutil.copytree(exported, tmp_path / "fluent"))
    report = json.loads((copy / "evaluation/report.json").read_text())
    for sample, story in zip(report["samples"], storyteller.stories(9, seed=99), strict=False):
        sample["text"] = story
    (copy / "evaluation/report.json").write_text(json.dumps(report))
    # Of 400 training stories; a model may repeat what it read, and still write sentences.
    known, expected = shares(
        [[s["text"] for s in report["samples"]], list(storyteller.stories(50, seed=98))],
        storyteller.stories(400, seed=1),
    )
    assert abs(known - expected) < 0.1
    assert word_salad(RunPaths(copy)) is None


def test_the_licence_of_the_corpus_changes_the_card_and_nothing_else(exported: Path, tmp_path: Path):
    copy = Path(shutil.copytree(exported, tmp_path / "tiny"))
    card_file = copy / "export/huggingface/README.md"
    files = {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.is_file() and "export" in p.parts}
    before = card_file.read_text()
    done = run_pipeline(copy, overrides={"export.corpus_license": "cc-by-4.0"}).done
    assert done == []
    assert card_file.read_text() != before and "cc-by-4.0" in card_file.read_text()
    changed = {p.relative_to(copy).as_posix() for p, time in files.items() if p.stat().st_mtime_ns != time}
    assert changed == {"export/huggingface/README.md", "export/huggingface/manifest.json"}
    assert run_pipeline(copy, verify=True).done == []
    # A run of an older version, whose manifest lacks the licence, keeps the card that fits its files.
    manifest_file = copy / "export/huggingface/manifest.json"
    manifest = json.loads(manifest_file.read_text())
    del manifest["recipe"]["export.corpus_license"]
    manifest_file.write_text(json.dumps(manifest))
    written = card_file.stat().st_mtime_ns
    assert run_pipeline(copy).done == [] and card_file.stat().st_mtime_ns == written


def test_a_corpus_without_a_stated_licence_gives_a_warning(
    exported: Path, tmp_path: Path, capsys, monkeypatch
):
    run = Path(shutil.copytree(exported, tmp_path / "tiny"))
    assert main(["export", str(run), "--set", "export.corpus_license=cc0-1.0"]) == 0
    assert main(["publish", str(run), "someone/tales"]) == 0
    shown = capsys.readouterr()
    assert "licence of corpus   storyteller: licence cc0-1.0" in shown.out
    assert "; licence cc0-1.0 |" in (run / "export/hub/README.md").read_text()
    changed = {"corpus.source": "mine.txt", "export.corpus_license": ""}
    (run / "recipe.toml").write_text(Recipe.load(run, changed).to_toml())
    monkeypatch.setattr(
        "aurelius.pipeline.run.run", lambda *_, **__: None
    )  # as if it had been made from that
    assert main(["publish", str(run), "someone/tales"]) == 0
    shown = capsys.readouterr()
    assert "licence of corpus   mine.txt: licence not stated" in shown.out
    assert "no licence is stated for the corpus (mine.txt)" in shown.err.replace("\n", "")
    assert "; licence not stated |" in (run / "export/hub/README.md").read_text()


@pytest.mark.parametrize(
    ("source", "stated", "expected"),
    [
        ("storyteller", "", card.STORYTELLER),
        ("hf:roneneldan/TinyStories/train.txt", "", "licence CDLA-Sharing-1.0"),
        ("hf:someone/else/train.txt", "", "licence not stated"),
        ("/deep/storyteller", "", "licence not stated"),
        ("/deep/mine.txt", "cc-by-4.0", "licence cc-by-4.0"),
        (["/a.txt", "/b.txt"], "", "licence not stated"),
        (["/a.txt", "storyteller"], "", f"a.txt: licence not stated; storyteller: {card.STORYTELLER}"),
    ],
)
def test_the_licence_of_the_corpus_is_stated_known_or_not(tiny: Recipe, source, stated: str, expected: str):
    recipe = tiny.with_(**{"corpus.source": source, "export.corpus_license": stated})
    assert card.in_words(card.corpus_licences(recipe, {"source": "as the recipe says"})) == expected


def test_stories_from_python_are_not_the_storytellers(tiny: Recipe):
    found = card.corpus_licences(tiny, {"source": "given"})
    assert found == {"stories passed from Python": "licence not stated"}
    with pytest.raises(RecipeError, match=r"export\.corpus_license"):
        tiny.with_(**{"export.corpus_license": "CC | BY"})


def test_one_commit_holds_what_was_shown(exported: Path, tmp_path: Path, server: str):
    Hub.fails = {"/commit/": [503], "/api/repos/create": [500, 502]}
    more = ("--private", "--collection", "someone/tiny", "--license", "apache-2.0")
    done = publish(exported, tmp_path, server, "--send", *more)
    assert done.returncode == 0, done.stderr
    folder = exported / "export/hub"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(Hub.files) == there and "model.safetensors" in there and "manifest.json" not in there
    assert private()
    assert "/api/collections/someone/tiny/items" in Hub.asked
    assert f"published: {server}/someone/tales/commit/" in done.stderr
    assert "tiny-Q8_0.gguf" not in there, "32 weights make a block, a width here is 48"
    assert Hub.deleted == ["tiny-Q8_0.gguf"], "of an earlier publication, and nobody else's"
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_private_publication_is_not_sent_to_a_public_repository(
    exported: Path, tmp_path: Path, server: str
):
    Hub.public = True
    done = publish(exported, tmp_path, server, "--send", "--private")
    assert done.returncode == 1, done.stderr
    assert "someone/tales already exists and is public" in done.stderr
    assert set(Hub.asked) == {"/api/repos/create"} and Hub.files == {}
    done = publish(exported, tmp_path, server, "--send")
    assert done.returncode == 0 and "model.safetensors" in Hub.files


@pytest.mark.parametrize(
    ("fails", "token", "words"),
    [
        ({}, "", "log in"),
        ({}, "hf_wrongWrongWrong", "log in"),
        ({"/api/repos/create": [403]}, TOKEN, "the hub refuses someone/tales (403)"),
        ({"/commit/": [500] * 9}, TOKEN, "someone/tales on the hub"),
        ({"/commit/": [400]}, TOKEN, "someone/tales on the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    exported: Path, tmp_path: Path, server: str, monkeypatch, fails: dict, token: str, words: str
):
    Hub.fails = fails
    monkeypatch.setenv("HF_ENDPOINT", server)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError) as caught:
        hub.send(hub.assemble(exported, [], "someone/tales", ""))
    assert Hub.files == {}
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not token or token not in str(caught.value)


def test_an_unreachable_hub_gives_one_line(exported: Path, tmp_path: Path):
    done = publish(exported, tmp_path, "http://127.0.0.1:9", "--send")
    assert done.returncode == 1 and "on the hub" in done.stderr and "Traceback" not in done.stderr


def test_names_and_runs_that_cannot_be_published(exported: Path, tmp_path: Path):
    for name in ("tales", "a/b/c", "a/b--c", "a/b.git", "aé/b", "a/" + "b" * 200):
        with pytest.raises(RecipeError, match="is not a valid model name on the hub"):
            hub.prepare(exported, name)
    for wrong, words in (("Foo Bar: x", "choose one such as"), ("Apache 2.0", "did you mean 'apache-2.0'?")):
        with pytest.raises(RecipeError, match=words):
            hub.prepare(exported, "someone/tales", wrong)
    with pytest.raises(RunError, match="has no finished export"):
        hub.prepare(tmp_path, "someone/tales")


def test_the_card_of_a_publication(exported: Path, tmp_path: Path, server: str):
    assert publish(exported, tmp_path, server, "--license", "mit").returncode == 0
    text = (exported / "export/hub/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    fields = yaml.safe_load(head)
    report = json.loads((exported / "evaluation/report.json").read_text())["documentwise"]
    assert fields["license"] == "mit" and fields["pipeline_tag"] == "text-generation"
    metrics = {m["type"]: m["value"] for m in fields["model-index"][0]["results"][0]["metrics"]}
    assert metrics["bits_per_byte"] == report["bits_per_byte"]
    assert fields["model-index"][0]["name"] == "tales"
    for words in (
        "| tokens | bits per byte |",
        "`model_q4.onnx`",
        "llama-cli -hf someone/tales",
        "Muon",
        "; made up by Aurelius's own storyteller, no third-party text |",
        "vllm serve someone/tales --max-model-len 48   # send prompts, not chats; not run by the tests",
        "mlx_lm.generate --model someone/tales",
        "aurelius.parity.reference",
    ):
        assert words in body
    unmeasured = re.findall(r"\| `(.*)` \| [0-9.]+ \| – \| not measured \| – \|", body)
    assert unmeasured == ["tiny-F16.gguf", "tiny-F32.gguf"], "llama.cpp is not here, ONNX Runtime is"
    assert '-p "Once upon a time, a little boy named Paco"   # not run by the tests' in body
    assert len(re.findall(r"^> ", body, re.M)) >= 3, "all samples"
    assert not re.search(r"\$[{a-z]", body) and str(exported) not in text
