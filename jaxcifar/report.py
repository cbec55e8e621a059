"""Makes an HTML page of one or several runs, or of all claims."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse

from jaxcifar.errors import UserError
from jaxcifar.pages import markup, run_page, study_page
from jaxcifar.pages.runs import load_runs
from jaxcifar.system import atomic, backend, output
from jaxcifar.system.files import expand_home


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "report",
        "Makes an HTML page of one run, of several runs compared, or of all claims.",
        ("checkpoints/quickstart --out=checkpoints/quickstart.html", "--study=results"),
    )
    parser.add_argument("runs", nargs="*", metavar="DIR", help="folders of the runs")
    text = "folder of records, such as results, for a page of all claims (default: none)"
    parser.add_argument("--study", type=expand_home, metavar="DIR", help=text)
    text = "page to write (default: report.html)"
    parser.add_argument("--out", type=expand_home, default="report.html", metavar="FILE", help=text)
    text = "step to show: latest (default), best or a number"
    parser.add_argument("--step", default="latest", help=text)
    command.add_data_options(parser)
    return parser


def main() -> None:
    """Runs the command."""
    arguments = make_parser().parse_args()
    if bool(arguments.runs) == bool(arguments.study):
        raise UserError("give either the folders of runs or --study=DIR, not both")
    atomic.check_writable(arguments.out.parent, "the folder of --out,")
    markup.check_own_page(arguments.out)
    with output.busy(f"making {arguments.out}"):
        if arguments.study:
            text = study_page.page(arguments.study, arguments.out)
        else:
            backend.configure(keep_memory=False)
            step_and_data = arguments.step, arguments.data_dir, arguments.other_classes
            folders = [expand_home(run) for run in arguments.runs]
            text = run_page.page(load_runs(folders, *step_and_data))
    markup.write_page(arguments.out, text)
    output.show(f"wrote {arguments.out}, {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run_command(main)
