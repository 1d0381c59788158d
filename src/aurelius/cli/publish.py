"""``aurelius publish``: a run as a repository on the Hugging Face hub."""

import argparse

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import TokenizerError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a trained run: its folder, or its name in runs/")
    parser.add_argument("repo", metavar="OWNER/NAME", help="the model's name on the hub")
    sending = parser.add_mutually_exclusive_group()
    sending.add_argument("--send", action="store_true", help="upload")
    sending.add_argument(
        "--dry-run", action="store_true", help="show what would be uploaded, and send nothing (the default)"
    )
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--collection", default="", metavar="SLUG", help="add the model to this collection")
    parser.add_argument(
        "--license", default="", help="of the weights, in the hub's spelling (such as apache-2.0)"
    )


def _act(options: argparse.Namespace) -> None:
    from aurelius.export.registry import targets
    from aurelius.pipeline.run import require_trained, run
    from aurelius.pipeline.run_folder import find_run
    from aurelius.publishing import hub
    from aurelius.publishing.fluency import word_salad
    from aurelius.run_paths import RunPaths

    progress = common.reporter(options)
    hub.check_names(options.repo, options.license)
    folder = find_run(options.run)
    require_trained(RunPaths(folder))
    for target in targets():
        try:
            run(folder, to=(target.name,), progress=progress)
        except TokenizerError as error:
            progress.note(f"{target.name}: left out, {error}")
    publication = hub.prepare(folder, options.repo, options.license, progress)
    if problem := word_salad(RunPaths(folder)):
        progress.warn(problem)
    for line in publication.summary(options.private, options.collection):
        print(line)
    if options.send:
        hub.send(publication, options.private, options.collection, progress)
        return
    if publication.outdated:
        print(
            f"would be removed there, if an earlier publication left them: {', '.join(publication.outdated)}"
        )
    print(f"nothing was sent; read {publication.folder / 'README.md'}, then add --send")
    for problem in publication.missing_licences:
        progress.warn(problem)


EXAMPLES = """\
aurelius publish mine owner/name --license apache-2.0               see what would be sent
aurelius publish mine owner/name --license apache-2.0 --send        send it"""
COMMANDS = (
    Command("publish", "put a run on the Hugging Face hub; shows it first", _add_arguments, _act, EXAMPLES),
)
