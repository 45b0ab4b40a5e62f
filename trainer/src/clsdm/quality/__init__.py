"""How good a reconstruction is: figures against the true CT, reprojection against its X-rays, pictures and the report.
Neighbours may use what is in ``__all__``; ``agreement`` and ``picture`` need no torch.
"""

__all__ = ["agreement", "compare", "metrics", "page", "picture", "reprojection", "result", "symmetry", "write"]
