"""The page of a benchmark with its tables, tests, claims and pictures, and the comparison of the README. Both from records alone."""
