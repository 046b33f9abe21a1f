"""Failure networks: FMEA tables read, checked, repaired and turned into a noisy-OR network."""
