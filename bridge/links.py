"""What an air server serves: a link as the bridge sees it, and the factory of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from bridge.errors import BridgeError, ConfigRefused, RequestRefused

if TYPE_CHECKING:
    from bridge.streams.config import StreamConfig

__all__ = ["AirLink", "AirResult", "LinkFactory", "one_sentence", "phy_link_factory"]


class AirResult(Protocol):
    """What a link returns: estimates float64 [B, n], lost bool [B], diagnostics of float64 [B] each."""

    @property
    def estimates(self) -> npt.NDArray[np.float64]: ...  # noqa: D102

    @property
    def lost(self) -> npt.NDArray[np.bool_]: ...  # noqa: D102

    @property
    def diagnostics(self) -> Mapping[str, npt.NDArray[np.float64]]: ...  # noqa: D102


class AirLink(Protocol):
    """A pure function of its configuration, seed, secret and request: asked twice, it answers the same bits.

    Unless its description says otherwise under `noise`: "seed" where that is so, another word where a round that is sent twice
    meets other noise, or noise that only the server can draw again. Such a link may have `transmissions`, how many slots it has
    put on the air so far.
    """

    @property
    def description(self) -> Mapping[str, int | float | str]: ...  # noqa: D102

    def aggregate(
        self,
        rounds: npt.NDArray[np.int64],
        payloads: npt.NDArray[np.float64],
        present: npt.NDArray[np.bool_] | None = None,
        /,
    ) -> AirResult:
        """Send payloads [B, K, n] of the given rounds [B] over the air, the absent devices silent."""
        ...


# (configuration, seed) -> link; a server with a secret calls it with the link's secret, 0 .. 2^64 - 1, as third argument.
LinkFactory = Callable[..., AirLink]


def phy_link_factory(
    parts: Iterable[str] = (), *, files: Iterable[str] = (), stream: StreamConfig | None = None, backend: str = "sionna"
) -> LinkFactory:
    """Import the physical layer and return the factory of its links; the import takes seconds.

    A configuration can name a class to load, as `module:Class`. Whoever can reach the server could then make
    it import and run any class on its path, so only the names in `parts` are loaded. The same holds for the files that it
    names (soundings, recordings): only those in `files`, written alike, are opened. `stream`: settings of the stream air.

    `backend` computes the channel: `sionna` (Sionna 2 on PyTorch), `tensorflow` (Sionna 1.x on TensorFlow) or
    `numpy` (no framework). A configuration that leaves its backend out gets this one; one that asks for another
    is refused, since its numbers would not be to the bit what it asked for.

    Raises:
        BridgeError: the physical layer, or what the backend computes with, is not installed.
    """
    try:
        import pydantic

        from bridge.stream_air import STREAM_AIR
        from bridge.stream_air import Part as StreamAir
        from phy.backends import BACKENDS, require
        from phy.config import LinkConfig
        from phy.errors import PhyError
        from phy.link import Link
    except ImportError as error:
        raise BridgeError(
            f"the physical layer cannot be imported ({one_sentence(error)}); install it with `pip install 'pairzero[phy]'`"
        ) from error
    if backend not in BACKENDS:
        raise BridgeError(f"there is no backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    allowed, readable = frozenset(parts), frozenset(files)
    make_stream = None if stream is None else partial(StreamAir, stream=stream)
    try:
        # Loading a framework takes seconds: now, not while the first client waits.
        require(backend)
        Link(LinkConfig.model_validate({"backend": backend}), 0)
    except PhyError as error:
        raise BridgeError(one_sentence(error)) from error

    def make(config: dict[str, Any], seed: int, secret: int | None = None) -> AirLink:
        for text in _texts(config):
            if ":" in text and text not in allowed:
                raise ConfigRefused(
                    f"the server loads no class called {text[:80]!r} for its clients; start it with --allow-part {text[:80]}"
                )
        for path in _files(config):
            if path not in readable:
                raise ConfigRefused(
                    f"the server opens no file {path[:200]!r} for its clients; start it with --allow-file {path[:200]}"
                )
        asked = config.get("backend", backend)
        if asked != backend and asked in BACKENDS:
            raise ConfigRefused(
                f"this air server computes with backend {backend}, and the link asks for {asked}; set air.backend = "
                f'"{backend}", or start another server with --backend {asked}'
            )
        try:
            checked = LinkConfig.model_validate({**config, "backend": asked})
            link = Link(checked, seed, make_stream if checked.burst.air == STREAM_AIR else None, secret=secret)
        except pydantic.ValidationError as error:
            raise ConfigRefused(_validation_sentence(error.errors(include_url=False))) from None
        except PhyError as error:
            raise ConfigRefused(one_sentence(error)) from None
        return _Refusing(link, PhyError)

    return make


class _Refusing:
    """The link itself, except that what it refuses is told apart from what fails in it."""

    def __init__(self, link: AirLink, refusal: type[Exception]) -> None:
        self._link = link
        self._refusal = refusal

    @property
    def description(self) -> Mapping[str, int | float | str]:
        return self._link.description

    @property
    def transmissions(self) -> int | None:
        count: int | None = getattr(self._link, "transmissions", None)
        return count

    def aggregate(
        self,
        rounds: npt.NDArray[np.int64],
        payloads: npt.NDArray[np.float64],
        present: npt.NDArray[np.bool_] | None = None,
    ) -> AirResult:
        try:
            return self._link.aggregate(rounds, payloads, present)
        except self._refusal as error:
            raise RequestRefused(one_sentence(error)) from None


def one_sentence(error: BaseException) -> str:
    """Return the first line of an error's text, cut to 500 characters; its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:500] if lines else type(error).__name__


def _validation_sentence(errors: Iterable[Any]) -> str:
    faults = []
    for fault in errors:
        where = ".".join(str(step) for step in fault["loc"]) or "link"
        faults.append(f"{where}: {fault['msg']}")
    return one_sentence(ValueError("the link configuration is refused: " + "; ".join(faults[:5])))


def _files(value: object) -> Iterator[str]:
    """What a configuration names as `file`, at any depth."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if key == "file" and item is not None:
            yield str(item)
        else:
            yield from _files(item)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():  # a key can name a class as well: impairments do
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
