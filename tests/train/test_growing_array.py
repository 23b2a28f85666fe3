from __future__ import annotations

import numpy as np
import pytest

from iospstl_train.data.growing_array import GrowingArray


@pytest.mark.parametrize("lengths", [(), (0,), (3, 0, 5), (1,) * 1001])
@pytest.mark.parametrize(("dtype", "row_shape"), [(np.float32, (2, 25, 3)), (np.bool_, ())])
def test_what_was_appended_is_read(tmp_path, lengths, dtype, row_shape):
    path = tmp_path / "grown.npy"
    rows = [np.random.default_rng(n).random((n, *row_shape)).astype(dtype) for n in lengths]
    with GrowingArray(path, dtype, row_shape) as array:
        for each in rows:
            array.append(each)
        assert array.n_rows == sum(lengths)
    read = np.load(path, mmap_mode="r" if sum(lengths) else None)
    assert (read.dtype, read.shape) == (np.dtype(dtype), (sum(lengths), *row_shape))
    np.testing.assert_array_equal(read, np.concatenate(rows) if rows else read)


def test_rows_of_another_shape_are_no_rows(tmp_path):
    with pytest.raises(AssertionError), GrowingArray(tmp_path / "a.npy", np.int8, (2,)) as array:
        array.append(np.zeros((3, 4), np.int8))
