"""The command ``pairzero``: its options and how it fails. The commands themselves are the files of ``testbench/commands``."""

import os
import sys
from typing import Annotated

import typer

from testbench.commands import Commands

app = typer.Typer(
    name="pairzero",
    cls=Commands,
    help="Over-the-air federated zeroth-order fine-tuning, its radio emulated.",
    epilog="Start with: pairzero demo. Each command has a --help of its own.",
    context_settings={"max_content_width": 120},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain: rich takes as long to import as all the rest
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors (anywhere on the line).")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"pairzero {installed('pairzero')}")
        raise typer.Exit


def main() -> None:
    """Run the command line: errors become one sentence on standard error and a non-zero exit code."""
    if "_PAIRZERO_COMPLETE" in os.environ:
        from testbench.completing_bash import answer

        return answer(os.environ, lambda: app(prog_name="pairzero"))
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments, prog_name="pairzero")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, _expected()):
            _fail(str(error))
        _fail(f"internal error: {type(error).__name__}: {error}; run again with --debug for the traceback, and report it")


def _expected() -> tuple[type[Exception], ...]:
    from bridge.errors import BridgeError
    from learning.errors import LearningError
    from phy.errors import PhyError
    from testbench.errors import TestbenchError

    return (TestbenchError, BridgeError, LearningError, PhyError)


def _fail(sentence: str) -> None:
    print(f"pairzero: {sentence}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
