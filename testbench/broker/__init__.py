"""The broker between others' radios: its settings and what a person runs."""
