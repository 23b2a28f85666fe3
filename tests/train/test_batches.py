"""Batches: the same rows wherever the windows are."""

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.streams import to_network
from iospstl_train.training import batches as module
from iospstl_train.training.batches import Batches, PretrainData, fits, own_rows, samples_an_epoch
from iospstl_train.training.positions import epoch_order
from tests.train.tiny_training import tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(windows):
    return PretrainData(windows.xyz[:30], windows.hidden_frac()[:30])


def make(data, place="auto", *changes):
    settings = tiny_config("training.batch_size=7", f"training.data={place}", *changes)
    return Batches(data, settings.training, CPU)


@pytest.mark.parametrize("place", ["resident", "streamed"])
@pytest.mark.parametrize("stream", ["joint", "motion"])
def test_batches_are_the_rows_of_the_order(data, place, stream, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)  # more pieces than one
    made = make(data, place, f"training.stream={stream}")
    order = epoch_order(1, 0, 30)
    found = list(made.steps(order))
    assert [step for step, _ in found] == [0, 1, 2, 3]  # the last two windows fill no batch
    for step, batch in found:
        rows = order[7 * step : 7 * step + 7].numpy()
        expected = to_network(data.xyz[rows], stream)
        assert batch.x.numpy().tobytes() == expected.tobytes()
        assert batch.present.tolist() == (expected != 0).any(axis=(1, 2, 3)).tolist()
        np.testing.assert_array_equal(batch.hidden_frac, data.hidden_frac[rows])
        assert batch.rows == slice(0, 7)


@pytest.mark.parametrize("place", ["resident", "streamed"])
def test_a_smaller_last_batch_is_kept_if_asked_for(data, place):
    """Thirty windows in batches of seven: two are left over; of 29, one, which is no batch."""
    made, order = make(data, place, "training.last_batch=keep"), epoch_order(1, 0, 30)
    *whole, (step, last) = list(made.steps(order))
    assert (made.n_samples, made.n_steps, step) == (30, 5, 4)
    assert [len(batch.x) for _, batch in whole] == [7] * 4
    expected = to_network(data.xyz[order[28:].numpy()])
    assert last.x.numpy().tobytes() == expected.tobytes()
    np.testing.assert_array_equal(last.hidden_frac, data.hidden_frac[order[28:]])
    assert last.rows == slice(0, 2)
    fewer = PretrainData(data.xyz[:29], data.hidden_frac[:29])
    fewer = make(fewer, place, "training.last_batch=keep")
    assert (fewer.n_samples, fewer.n_steps) == (28, 4)


def test_several_processes_keep_what_they_can_divide(monkeypatch):
    monkeypatch.setattr(module, "n_processes", lambda: 2)
    kept = tiny_config("training.batch_size=8", "training.last_batch=keep").training
    assert [samples_an_epoch(n, kept) for n in (16, 17, 18, 19, 21)] == [16, 16, 18, 18, 20]
    dropped = tiny_config("training.batch_size=8").training
    assert [samples_an_epoch(n, dropped) for n in (16, 17, 18, 19, 21)] == [16] * 5


@pytest.mark.parametrize("place", ["resident", "streamed"])
@pytest.mark.parametrize("first", [0, 2, 4])
def test_batches_go_on_at_any_step(data, place, first):
    made, order = make(data, place), epoch_order(1, 0, 30)
    whole = {step: batch.x for step, batch in made.steps(order)}
    rest = {step: batch.x for step, batch in made.steps(order, first)}
    assert list(rest) == list(range(first, 4))
    for step, x in rest.items():
        assert torch.equal(x, whole[step])


def test_streaming_ends_with_the_loop(data):
    """A run that stops leaves no thread behind that would keep the process alive."""
    import threading

    steps = make(data, "streamed").steps(epoch_order(1, 0, 30))
    next(steps)
    assert any("batches" in thread.name for thread in threading.enumerate())
    steps.close()
    assert not any("batches" in thread.name for thread in threading.enumerate())


def test_a_fault_of_the_thread_reaches_the_loop(data, monkeypatch):
    made = make(data, "streamed")
    monkeypatch.setattr(module, "to_network", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(made.steps(epoch_order(1, 0, 30)))


def test_large_and_mapped_windows_are_streamed(data, tmp_path, monkeypatch):
    assert fits(data.xyz, CPU)
    assert make(data).is_resident
    mapped = np.memmap(tmp_path / "xyz", np.float32, "w+", shape=data.xyz.shape)
    mapped[:] = data.xyz
    assert not make(PretrainData(mapped, data.hidden_frac)).is_resident
    monkeypatch.setattr(module, "free_memory", lambda _: 1.5 * data.xyz.nbytes)
    assert not make(data).is_resident
    assert make(data, "resident").is_resident


def test_processes_share_a_batch_evenly(monkeypatch):
    monkeypatch.setattr(module, "n_processes", lambda: 3)
    monkeypatch.setattr(module, "process_index", lambda: 1)
    assert own_rows(12) == slice(4, 8)
    with pytest.raises(InputError, match="multiple of the 3 processes, got 14"):
        own_rows(14)
