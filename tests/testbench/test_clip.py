"""What counts as an estimate beyond the clip."""

import numpy as np
import pytest

from testbench.clip import beyond_clip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_not_beyond_the_clip_and_a_lost_round_is_not(dtype):
    estimates = np.array([8.0, -8.0, np.nextafter(np.float32(8.0), np.float32(9.0)), 8.0001, 8.01, -8.01, np.nan], dtype)
    assert beyond_clip(estimates, 8.0).tolist() == [False, False, False, False, True, True, False]
