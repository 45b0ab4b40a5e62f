"""How good a reconstruction is: figures against the true CT, reprojection against its X-rays, pictures and the report.
Neighbours may use what is in ``__all__``; ``agreement``, ``picture``, ``intervals`` and ``quantities`` need no torch.
"""

__all__ = ["agreement", "compare", "intervals", "measure", "metrics", "numbers", "page", "picture", "quantities", "reprojection",
           "result", "spread", "symmetry", "usual", "write"]  # fmt: skip
