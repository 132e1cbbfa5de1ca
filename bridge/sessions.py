"""The links that a server keeps open: a session for each (configuration, seed, nonce), or each client where noise is fresh."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from bridge.errors import BridgeError
from bridge.links import AirLink, LinkFactory
from bridge.once import SECRET, Once, repeats
from bridge.secrets import link_secret

__all__ = ["SessionStore", "plain_description", "session_id"]

# Answers that are kept for repeated questions, of all sessions but the one that is asked.
ALL_ANSWERS_BYTES = 128 << 20


def session_id(config: Mapping[str, Any], seed: int, nonce: str = "") -> str:
    """Return the SHA-256, in hex, of configuration, seed and nonce (unless empty) as JSON with sorted keys and no spaces.

    Equal questions get equal ids, so opening a session twice is the same as opening it once. A server's secret has no part in
    it.
    """
    asked = {"config": config, "seed": seed} | ({"nonce": nonce} if nonce else {})
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class SessionStore:
    """At most `capacity` open sessions.

    A link whose noise is a function of its seed answers whoever asks; its session is the same for all. Where noise is keyed by
    the server's secret the session is the same for all, too, and remembers what it sent (:class:`bridge.once.Once`): the same
    round with other values would meet the same noise. Where noise is fresh, every HELLO, its repetitions apart, opens a session
    of its own on the one link: a client's repeated question is answered from the memory of its session, while another client's
    is a transmission of its own. No restart brings such a session back, so that a question from before it is told to be of no
    session, and not sent again.

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
        # Session whose noise is fresh -> (the id that its question would give it otherwise, who asked).
        self._asked: dict[str, tuple[str, bytes]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def open(self, config: dict[str, Any], seed: int, nonce: str = "", asker: bytes = b"") -> tuple[str, AirLink]:
        """Return the session of (config, seed, nonce), making its link if it is not open.

        Args:
            config: of the link.
            seed: of its draws.
            asker: what repetitions of one HELLO share and no other HELLO has; empty: this one is never repeated.

        Raises:
            ConfigRefused: the factory does not accept the configuration. Whatever else the factory raises
                passes through.
        """
        session = session_id(config, seed, nonce)
        link = self.get(session)
        if link is not None:
            return session, link
        for other, asked in self._asked.items():
            if asked == (session, asker) and asker:
                return other, self._links[other]
            if asked[0] == session:
                link = self._bare(other)
        if link is None:
            own = () if self._secret is None else (link_secret(self._secret, session),)
            link = self._factory(config, seed, *own)
        if link.description.get("noise") == SECRET:
            link = Once(link)
        elif repeats(link.description) is False:
            question, session, link = session, secrets.token_hex(32), Once(link)
            self._asked[session] = (question, asker)
        self._links[session] = link
        while len(self._links) > self._capacity:
            self._asked.pop(self._links.popitem(last=False)[0], None)
        return session, link

    def get(self, session: str) -> AirLink | None:
        """Return an open link and mark it as used, or None."""
        link = self._links.get(session)
        if link is not None:
            self._links.move_to_end(session)
            if self._asked:
                self._make_room(session)
        return link

    def _bare(self, session: str) -> AirLink:
        link = self._links[session]
        return link.link if isinstance(link, Once) else link

    def _make_room(self, using: str) -> None:
        """Keep the answers of all sessions within bounds: those least recently used forget theirs first."""
        kept = [link for session, link in self._links.items() if isinstance(link, Once) and session != using]
        total = sum(link.nbytes for link in kept)
        for link in kept:
            if total <= ALL_ANSWERS_BYTES:
                break
            total -= link.nbytes
            link.forget_answers()


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
