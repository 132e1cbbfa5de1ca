"""Scalars that devices leave at the air server themselves, so that whoever asks for the estimate never holds them.

The coordinator opens a *box* for the deposits of one round after the other, each device deposits with a token of its own, and
the coordinator has the air superpose them. docs/protocol.md is the document.
"""
