"""Channels over sample streams without borders, in numpy: the same samples in however many pieces they come."""
