"""The links that a server keeps open: a session for each (configuration, seed, nonce)."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from bridge.errors import BridgeError
from bridge.links import AirLink, LinkFactory
from bridge.secrets import link_secret

__all__ = ["SessionStore", "plain_description", "session_id"]


def session_id(config: Mapping[str, Any], seed: int, nonce: str = "") -> str:
    """Return the SHA-256, in hex, of configuration, seed and nonce (unless empty) as JSON with sorted keys and no spaces.

    Equal questions get equal ids, so opening a session twice is the same as opening it once. A server's secret has no part in
    it.
    """
    asked = {"config": config, "seed": seed} | ({"nonce": nonce} if nonce else {})
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class SessionStore:
    """At most `capacity` open links.

    Args:
        factory: makes a link of (configuration, seed), or of (configuration, seed, secret) where there is a secret.
        capacity: the least recently used of more is closed.
        secret: the server's; each session's link gets one of its own that is derived from it.
    """

    def __init__(self, factory: LinkFactory, capacity: int, secret: bytes | None = None) -> None:
        if capacity < 1:
            raise BridgeError(f"a server needs room for at least one session, not {capacity}")
        self._factory = factory
        self._capacity = capacity
        self._secret = secret
        self._links: OrderedDict[str, AirLink] = OrderedDict()

    def __len__(self) -> int:
        return len(self._links)

    def open(self, config: dict[str, Any], seed: int, nonce: str = "") -> tuple[str, AirLink]:
        """Return the session of (config, seed, nonce), making its link if it is not open.

        Raises:
            ConfigRefused: the factory does not accept the configuration. Whatever else the factory raises
                passes through.
        """
        session = session_id(config, seed, nonce)
        link = self.get(session)
        if link is None:
            own = () if self._secret is None else (link_secret(self._secret, session),)
            link = self._factory(config, seed, *own)
            self._links[session] = link
            while len(self._links) > self._capacity:
                self._links.popitem(last=False)
        return session, link

    def get(self, session: str) -> AirLink | None:
        """Return an open link and mark it as used, or None."""
        link = self._links.get(session)
        if link is not None:
            self._links.move_to_end(session)
        return link


def plain_description(description: Mapping[str, object]) -> dict[str, int | float | str]:
    """Return a link's description in plain numbers and text, as the wire wants it.

    Raises:
        BridgeError: it holds something else.
    """
    plain: dict[str, int | float | str] = {}
    for key, value in description.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, int | float | str):
            raise BridgeError(f"the link describes its {key} by a {type(value).__name__}, not by a number or text")
        plain[str(key)] = value
    return plain
