"""The methods of the comparison: one file each, found by its name; each has ``build(scenario) -> Method``."""
