"""``pairzero demo``."""

from testbench.commands._options import Out, Resume, Sets
from testbench.commands.run import run


def command(out: Out = None, sets: Sets = None, resume: Resume = False) -> None:
    """Fine-tune the embedded language model over the air: a minute."""
    from testbench.scenario import SHIPPED

    run(str(SHIPPED / "demo.toml"), sets, out, resume)
