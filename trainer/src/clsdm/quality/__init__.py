"""How good a reconstruction is: figures, reprojection, and the report that shows them."""
