"""How far numbers of a reconstruction are from those of its scan: made patient by patient, and put into a bundle as a table.

``collect`` measures volumes and scans and keeps what it found, ``calibrate`` makes the table of a bundle's errors of it,
``structures`` counts what was made up and lost, and ``page`` writes what was observed beside what was promised.
"""
