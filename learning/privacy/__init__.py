"""Privacy of what the air releases: sensitivities, accountants, calibration, odometer, and bounds for imperfect channels.

Every number is rounded against the user: an epsilon is never smaller, and an admitted mu never larger, than is true.
"""
