"""The page of a benchmark with its tables, tests, claims and pictures. And the comparison of the README; both from records alone."""
