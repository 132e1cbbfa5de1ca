"""The backends: which library computes the channel. Transmitter, receiver and every keyed draw are the same code for all.

``sionna``: Sionna 2 on PyTorch. ``tensorflow``: Sionna 1.x on TensorFlow, in an environment of its own. ``numpy``: the plain
reference, which needs no framework. A backend is a file ``phy/airs/NAME.py`` (symbol fidelity), ``phy/waveform_airs/_NAME.py``
(bursts) and, for the Sionnas, ``phy/channels/_NAME_model.py`` (channel models of Sionna). Equal questions get estimates that
agree to 1e-4 between backends; bits are only equal within one.
"""

import importlib
from functools import cache
from importlib import metadata
from typing import Any, Literal, get_args

from phy.config import LinkConfig
from phy.discovery import check, find
from phy.errors import BackendMissing, PhyError

Backend = Literal["sionna", "tensorflow", "numpy"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# Module that loads the framework, its name, and the generation of Sionna on it.
_FRAMEWORKS = {"sionna": ("torch", "PyTorch", "2"), "tensorflow": ("phy.runtimes.tensorflow", "TensorFlow", "1")}
_WAYS_OUT = {
    "sionna": "install it with `pip install 'pairzero[phy]'`, or choose backend numpy, which needs none",
    "tensorflow": "serve in the environment that `make air-tensorflow` makes, or choose backend numpy, which needs none",
}


@cache
def require(backend: str) -> None:
    """Import what a backend computes with; seconds the first time.

    Raises :class:`phy.errors.BackendMissing` where its framework or its generation of Sionna is not here.
    """
    if backend == "numpy":
        return
    runtime, name, generation = _FRAMEWORKS[backend]
    wanted, way_out = f"backend {backend} needs Sionna {generation}.x on {name}", _WAYS_OUT[backend]
    found = sionna_version()
    if found is None:
        raise BackendMissing(f"{wanted}, and Sionna is not installed here; {way_out}")
    if found.partition(".")[0] != generation:
        raise BackendMissing(f"{wanted}, and Sionna {found} is installed here; {way_out}")
    try:
        importlib.import_module(runtime)
        importlib.import_module("sionna.phy")
    except ImportError as error:
        raise BackendMissing(f"{wanted}, which cannot be imported ({error}); {way_out}") from error


def sionna_version() -> str | None:
    """The version of Sionna in this environment; None where there is none. Both of its distributions are looked at."""
    for name in ("sionna-no-rt", "sionna"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def in_process(config: LinkConfig) -> LinkConfig:
    """The link as a process without TensorFlow can compute it, for whoever samples or audits it beside the learner.

    Numpy takes TensorFlow's place: the same keyed draws, the same numbers to 1e-4.
    """
    return config.model_copy(update={"backend": "numpy"}) if config.backend == "tensorflow" else config


@cache
def versions(backend: str) -> str:
    """Versions of what a backend computes with, as far as they are installed here, in one line."""
    packages = {"sionna": ("torch",), "tensorflow": ("tensorflow",), "numpy": ()}[backend]
    found = [] if backend == "numpy" or sionna_version() is None else [f"sionna {sionna_version()}"]
    for package in (*packages, "numpy"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def own_models(config: LinkConfig) -> Any:
    """The module ``phy/channels/_<backend>_model.py``: Sionna's channel models as parts.

    Raises :class:`phy.errors.PhyError` for the backend that has no Sionna.
    """
    if config.backend == "numpy":
        raise PhyError(f"channel.model {config.channel.model!r} is of Sionna, which backend numpy does without; choose another")
    require(config.backend)
    return importlib.import_module(f"phy.channels._{config.backend}_model")


def waveform_air(name: str, backend: str) -> Any:
    """The class of the air that carries bursts, ``emulated`` or ``time_channel``, in the backend's own version.

    Raises what :func:`require` and :func:`phy.discovery.find` raise.
    """
    check("waveform_airs", name)
    require(backend)
    if backend == "sionna":
        return find("waveform_airs", name)
    module = importlib.import_module(f"phy.waveform_airs._{backend}")
    return {"emulated": module.Emulated, "time_channel": module.TimeChannel}[name]
