"""Blocks of one's own, to copy from: a channel and a neural receiver, each in PyTorch and in Keras. See docs/backends.md."""
