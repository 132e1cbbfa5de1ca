"""What bash hands to a completion, put together again.

Bash breaks words at equals signs: of ``--set link.scheme=an`` it makes ``link.scheme``, ``=`` and ``an``, and puts what it gets
in the place of ``an`` alone.
"""

import io
import sys
from collections.abc import Callable, MutableMapping
from contextlib import redirect_stdout

__all__ = ["answer", "rejoin"]


def answer(environment: MutableMapping[str, str], complete: Callable[[], None]) -> None:
    """Let ``complete`` print its completions of the joined words, each without what bash keeps on the line by itself."""
    kept = rejoin(environment)
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            complete()
    finally:
        sys.stdout.write("".join(line.removeprefix(kept) for line in printed.getvalue().splitlines(keepends=True)))


def rejoin(environment: MutableMapping[str, str]) -> str:
    """Join the words of ``COMP_WORDS`` at equals signs; ``COMP_CWORD`` counts the joined ones.

    Returns what of the current word stands on the line in words of its own, up to its last equals sign; "" where bash has not
    broken it, or another shell asks.
    """
    words, place = environment.get("COMP_WORDS", "").split("\n"), environment.get("COMP_CWORD", "")
    if environment.get("_PAIRZERO_COMPLETE") != "complete_bash" or "=" not in words or not place.isdigit():
        return ""
    current = int(place)
    joined: list[str] = []
    for word in words[: current + 1]:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
    key, equals, _ = joined[-1].rpartition("=")
    return key + equals
