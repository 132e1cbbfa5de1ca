"""Audits: statistics that attack a privacy claim. What they report is a lower bound on what leaks, never an upper one."""
