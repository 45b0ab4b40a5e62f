"""How good a reconstruction is: figures against the true CT, reprojection against its X-rays, pictures and the report.
Neighbours may use what is in ``__all__``; only ``compare``, ``metrics``, ``reprojection``, ``symmetry`` and ``usual`` need torch.
"""

__all__ = ["agreement", "compare", "comparison", "intervals", "made", "measure", "metrics", "numbers", "page", "picture", "place",
           "quantities", "reprojection", "result", "spread", "symmetry", "usual", "write"]  # fmt: skip
