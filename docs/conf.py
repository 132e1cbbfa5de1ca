"""How the documentation is built: ``make docs``. The pages are Markdown, the reference comes from the docstrings."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

project = "pairzero"
author = "the pairzero developers"
try:
    release = metadata.version("pairzero")
except metadata.PackageNotFoundError:
    release = "from source"

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["reference/**/modules.rst", "tutorials/.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"pairzero {release}"

# Every module of every room. Programs that run under GNU Radio's own Python, and benchmarks, are nobody's interface.
apidoc_modules = [
    {
        "path": str(ROOT / package),
        "destination": f"reference/{package}",
        "max_depth": 2,
        "separate_modules": True,
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
        "exclude_patterns": [
            str(ROOT / "testbench" / "flowgraphs" / "*"),
            str(ROOT / "testbench" / "benchmarks" / "*"),
            str(ROOT / "learning" / "embedded" / "pretrain.py"),
            str(ROOT / "testbench" / "examples" / "keras_*"),  # of the other environment
            str(ROOT / "phy" / "*" / "tensorflow.py"),
        ],
    }
    for package in ("pairzero", "phy", "learning", "bridge", "testbench")
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_mock_imports = ["gnuradio", "pmt"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an "Attributes:" section beside the fields themselves

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links out of the pages: the README and files of the repository
    "misc.highlighting_failure",  # dumps of bytes
    "ref.python",  # names that a package gives from its modules exist twice
]


def _bars(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings write |h| for a modulus, which reStructuredText would read as a substitution: outside literals it is text."""
    for index, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        lines[index] = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _bars, priority=900)
