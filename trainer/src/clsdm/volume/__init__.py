"""CT volumes in HU: values, grids, reading and writing. Arrays are (z, y, x) with an LPS affine."""
