"""``pairzero doctor``."""

import typer

from testbench.commands._options import console


def command() -> None:
    """Say what is installed, what is missing, and how to mend it."""
    from testbench.doctor import examine

    screen = console()
    findings = examine()
    marks = {"ok": "[green]ok[/green]   ", "lacks": "[red]lacks[/red]", "note": "[yellow]note[/yellow] "}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        screen.print(f"{marks[finding.state]}  {finding.name:{width}}  ", end="")
        screen.print(finding.text, markup=False, highlight=False, soft_wrap=True)
        if finding.mend is not None:
            screen.print(f"       {'':{width}}  mend: {finding.mend}", markup=False, highlight=False, soft_wrap=True)
    vital = [finding.name for finding in findings if finding.vital]
    if vital:
        screen.print(f"a run needs {', '.join(vital)}", markup=False, highlight=False)
        raise typer.Exit(1)
    screen.print("ready: pairzero demo", markup=False, highlight=False)
