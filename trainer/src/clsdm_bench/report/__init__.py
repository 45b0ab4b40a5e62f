"""What the rows of a benchmark say: the page with its tables, tests, claims and pictures, and the comparison of the README."""
