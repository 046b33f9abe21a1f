"""Failure networks: FMEA tables read, checked, repaired and turned into a noisy-OR network.

`table.read_table` -> `consistency.check_consistency` -> `repair.repair` -> `build.build_network`; each takes what the
one before gives. `template.write_template` and `write_back.write_back` are the way out, to spreadsheets.

In the spirit of Kirchhof et al. (2020), whose table, definition of consistency and repair are not published: these are
a reconstruction.
"""
