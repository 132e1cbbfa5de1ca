"""Aggregation schemes: how a scalar becomes a symbol, and a sum of symbols an estimate. One file each."""
