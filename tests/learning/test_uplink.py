"""The ideal link."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.uplink import NoiseFreeUplink

PAYLOADS = np.array([[3.0, -1.0], [-1.0, 0.0], [4.0, -2.0], [0.0, 5.0]])


def test_closed_forms() -> None:
    np.testing.assert_array_equal(NoiseFreeUplink().aggregate(0, PAYLOADS).estimate, [1.5, 0.5])
    np.testing.assert_array_equal(NoiseFreeUplink("sign").aggregate(0, PAYLOADS).estimate, [0.5, 0.0])  # 0 votes +1
    hard = NoiseFreeUplink("sign", "hard").aggregate(0, PAYLOADS)
    np.testing.assert_array_equal(hard.estimate, [1.0, 0.0])  # a tie moves nothing
    assert not hard.lost


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_order_of_devices_and_bounds(values: list[float]) -> None:
    payloads = np.array(values)[:, None]
    for uplink in (NoiseFreeUplink(), NoiseFreeUplink("sign"), NoiseFreeUplink("sign", "hard")):
        estimate = uplink.aggregate(1, payloads).estimate
        assert estimate.shape == (1,)
        assert estimate[0] == pytest.approx(uplink.aggregate(2, payloads[::-1]).estimate[0], abs=1e-9)
    assert abs(estimate[0]) <= 1


@pytest.mark.parametrize("uplink", [NoiseFreeUplink(), NoiseFreeUplink("sign"), NoiseFreeUplink("sign", "hard")])
def test_only_those_present_are_heard(uplink: NoiseFreeUplink) -> None:
    present = np.array([True, False, True, False])
    heard = uplink.aggregate(0, PAYLOADS, present)
    np.testing.assert_array_equal(heard.estimate, uplink.aggregate(0, PAYLOADS[present]).estimate)
    everybody = uplink.aggregate(0, PAYLOADS, np.ones(4, dtype=bool))
    np.testing.assert_array_equal(everybody.estimate, uplink.aggregate(0, PAYLOADS).estimate)
    nobody = uplink.aggregate(0, PAYLOADS, np.zeros(4, dtype=bool))
    assert nobody.lost
    assert nobody.estimate.shape == (2,)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="analog and sign"):
        NoiseFreeUplink("digital")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="soft and hard"):
        NoiseFreeUplink("sign", "firm")  # type: ignore[arg-type]
