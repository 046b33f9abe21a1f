"""Metrics, protocols and the suites that print them."""
