import numpy as np
import pytest
import torch

from iospstl_core.skeleton import KINECT_V1_20, NTU_25
from iospstl_train.config import load_config
from iospstl_train.models.stgcn import (
    EncoderSettings,
    StgcnBlock,
    StgcnEncoder,
    adjacency,
)
from tests.reference import adjacency as reference
from tests.reference.graph_conv import convolve_graph

SMALL = {"widths": (6, 8), "strides": (1, 2), "temporal_kernel": 3}


def make_encoder(**changes):
    torch.manual_seed(0)
    encoder = StgcnEncoder(EncoderSettings(**{**SMALL, **changes}))
    with torch.no_grad():  # as after some training: running statistics and importance matter
        for name, value in (*encoder.named_buffers(), *encoder.named_parameters()):
            if name.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
            elif name.endswith("running_var") or name.startswith("importance"):
                value.uniform_(0.5, 1.5)
    return encoder


def draw_windows(n=2, persons=2, frames=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, frames, 25, persons, generator=generator)


def test_paper_encoder_has_the_published_number_of_parameters():
    encoder = StgcnEncoder(load_config("paper").encoder)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 821_380  # 0.821 M


@pytest.mark.parametrize("partition", ["distance", "st-gcn"])
def test_adjacency_is_the_one_made_edge_by_edge(partition):
    expected = np.array(reference.adjacency(partition), dtype=np.float32)
    np.testing.assert_allclose(adjacency(NTU_25, partition), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("partition", "counts"), [("st-gcn", [32, 8, 8]), ("distance", [0, 24, 24])]
)
def test_partitions_have_the_published_sizes(partition, counts):
    edges = (adjacency(NTU_25, partition) > 0) & ~np.eye(25, dtype=bool)
    assert edges.sum(axis=(1, 2)).tolist() == counts


@pytest.mark.parametrize("layout", [NTU_25, KINECT_V1_20])
@pytest.mark.parametrize("partition", ["distance", "st-gcn"])
def test_each_joint_receives_a_weighted_mean(layout, partition):
    graph = adjacency(layout, partition)
    np.testing.assert_allclose(graph.sum(axis=(0, 1)), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.diagonal(graph[1:], axis1=1, axis2=2), 0)


def test_nearer_neighbors_are_in_the_second_partition():
    graph = adjacency(NTU_25)
    neck, head = NTU_25.index("Neck"), NTU_25.index("Head")
    assert graph[1, neck, head] == pytest.approx(1 / 2)  # the head has itself and the neck
    assert graph[2, head, neck] == pytest.approx(1 / 3)


def test_graph_first_is_convolution_first():
    torch.manual_seed(3)
    block = StgcnBlock(4, 5, 1, EncoderSettings(**SMALL), is_first=False)
    x = torch.randn(2, 4, 3, 25)
    graph = torch.rand(3, 25, 25)
    with torch.no_grad():
        got = block._convolve_graph(x, graph).numpy()
    weight = block.spatial.weight.detach().numpy()[:, :, 0, 0]
    expected = convolve_graph(
        x.numpy(), graph.numpy(), weight, block.spatial.bias.detach().numpy()
    )
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_strides_shorten_time_and_last_width_is_the_embedding():
    settings = EncoderSettings(widths=(4, 4, 7), strides=(1, 2, 2), temporal_kernel=5)
    lengths = []
    encoder = StgcnEncoder(settings).eval()
    for block in encoder.blocks:
        block.register_forward_hook(lambda _, __, out: lengths.append(out.shape[2]))
    assert encoder(draw_windows(n=3)).shape == (3, 7)
    assert lengths == [12, 6, 3]


@pytest.mark.parametrize("training", [False, True])
def test_absent_person_changes_nothing(training):
    pair = draw_windows()
    pair[..., 1] = 0
    encoder = make_encoder(dropout=0.0).train(training)
    both = encoder(pair)
    alone = make_encoder(dropout=0.0).train(training)(pair[..., :1])
    torch.testing.assert_close(both, alone)


def test_absent_persons_do_not_enter_the_statistics():
    alone, padded = make_encoder(dropout=0.0).train(), make_encoder(dropout=0.0).train()
    x = draw_windows(persons=1)
    alone(x)
    padded(torch.cat([x, torch.zeros_like(x)], dim=4))
    for name, value in alone.named_buffers():
        torch.testing.assert_close(dict(padded.named_buffers())[name], value)


def test_two_persons_are_averaged():
    encoder = make_encoder().eval()
    pair = draw_windows()
    mean = (encoder(pair[..., :1]) + encoder(pair[..., 1:])) / 2
    torch.testing.assert_close(encoder(pair), mean)


@pytest.mark.parametrize("training", [False, True])
def test_window_without_anybody_is_zero(training):
    x = draw_windows()
    x[1] = 0
    out = make_encoder(dropout=0.0).train(training)(x)
    assert out[1].abs().max() == 0
    assert out[0].abs().max() > 0


def test_published_code_averages_absent_persons_in():
    pair = draw_windows()
    pair[..., 1] = 0
    encoder = make_encoder(skip_absent=False).eval()
    empty = encoder(torch.zeros_like(pair[..., :1]))
    torch.testing.assert_close(encoder(pair), (encoder(pair[..., :1]) + empty) / 2)
    skipping = make_encoder().eval()
    assert not torch.allclose(encoder(pair), skipping(pair), atol=1e-3)


def test_removed_joints_cannot_be_seen():
    encoder = make_encoder().eval()
    kept = torch.tensor([j for j in range(25) if j not in (0, 3, 20)])
    x = draw_windows()
    changed = x.clone()
    changed[:, :, :, [0, 3, 20]] = 7.0
    torch.testing.assert_close(encoder(x, kept), encoder(changed, kept), rtol=0, atol=0)
    assert not torch.allclose(encoder(x), encoder(changed), atol=1e-3)
    assert not torch.allclose(encoder(x, kept), encoder(x), atol=1e-3)


def test_removing_joints_is_taking_them_out_of_every_layer():
    """By hand: columns of the normalised input, rows and columns of the graph as it is."""
    encoder = make_encoder().eval()
    kept = torch.arange(4, 22)
    x = draw_windows(persons=1)
    n, c, t, v, _ = x.shape
    flat = x[..., 0].permute(0, 3, 1, 2).reshape(n, v * c, t)
    features = encoder.input_norm(flat).view(n, v, c, t).permute(0, 2, 3, 1)[..., 4:22]
    for block, importance in zip(encoder.blocks, encoder.importance, strict=True):
        features = block(features, (encoder.graph * importance)[:, 4:22, 4:22])
    torch.testing.assert_close(encoder(x, kept), features.mean(dim=(2, 3)))


def test_removing_no_joint_changes_nothing():
    encoder = make_encoder().eval()
    x = draw_windows()
    torch.testing.assert_close(encoder(x, torch.arange(25)), encoder(x))


def test_dropout_spares_the_first_block():
    encoder = make_encoder(dropout=0.5)
    rates = [block.temporal[-1].p for block in encoder.blocks]
    assert rates == [0.0, 0.5]


def test_samples_of_a_batch_do_not_mix():
    encoder = make_encoder().eval()
    x = draw_windows(n=3)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))
