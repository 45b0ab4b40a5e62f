"""The page of a benchmark with its tables, tests, claims and pictures. The comparison of the README is made here too."""
