"""Devices as processes: a scenario's rounds with a coordinator and devices on any machine. docs/fleet.md."""
