"""The one verdict on how well a volume explains an X-ray."""

import pytest

from clsdm.quality.agreement import Agreement


@pytest.mark.parametrize(
    ("correlation", "words", "doubtful"),
    [
        (0.99, "closely", False),
        (0.95, "in the main", False),
        (0.9, "roughly", True),
        (0.2, "do not trust", True),
        (-1.0, "do not trust", True),
        (None, "cannot be compared", True),
    ],
)
def test_a_residual_is_put_in_words_by_its_correlation(correlation: float | None, words: str, doubtful: bool) -> None:
    agreement = Agreement(rmse=0.1, correlation=correlation)
    assert words in str(agreement)
    assert agreement.doubtful == doubtful
    assert correlation is None or "5.0% of the X-ray's contrast" in str(agreement)
