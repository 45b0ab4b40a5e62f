"""Networks in plain torch. Volumes are (B, C, z, y, x); images (B, C, row, column)."""
