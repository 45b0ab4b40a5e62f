"""The benchmark: every system side by side on the same patients, from one declarative table.

``table`` reads the table, ``training`` trains what is missing, ``rows`` evaluates, ``report`` writes; ``benchmark`` is the
order in which that happens, and the module to read first.
"""
