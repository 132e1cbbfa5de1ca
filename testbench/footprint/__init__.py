"""Measured peak memory, method by method, each in a process of its own: ``pairzero memory``."""
