"""Random numbers of a run: nothing but seed and position decides them."""

import torch

from iospstl_train.training.positions import epoch_order, seed_dropout, step_generator


def draw(generator):
    return tuple(torch.rand(4, generator=generator).tolist())


def test_a_position_has_one_stream_whatever_was_drawn_before():
    first = draw(step_generator(1, 2, 3))
    torch.rand(5)
    torch.manual_seed(9)
    assert draw(step_generator(1, 2, 3)) == first


def test_streams_of_other_positions_differ():
    """Also where numbers are exchanged, and for seeds that share their low 32 bits."""
    seeds = (0, 1, 2, 2**32, 2**32 + 1, 2**63, -1)
    places = [(seed, epoch, step) for seed in seeds for epoch in range(6) for step in range(6)]
    assert len({draw(step_generator(*place)) for place in places}) == len(places)


def test_order_is_a_permutation_of_its_own_each_epoch():
    orders = [epoch_order(1, epoch, 50) for epoch in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(50))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], epoch_order(1, 0, 50))
    assert not torch.equal(orders[0], epoch_order(2, 0, 50))


def test_dropout_differs_between_processes_and_steps():
    def masks(*place):
        seed_dropout(*place)
        return tuple((torch.nn.functional.dropout(torch.ones(64), 0.5) > 0).tolist())

    places = [(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 0), (1, 1, 0, 0), (2, 0, 0, 0)]
    assert len({masks(*place) for place in places}) == len(places)
    assert masks(*places[0]) == masks(*places[0])
