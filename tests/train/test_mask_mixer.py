import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.normalize import N_FRAMES
from iospstl_core.session import OnnxModel
from iospstl_core.streams import to_network
from iospstl_train.config import load_config
from iospstl_train.models.mask_mixer import MaskMixer, MixerSettings
from iospstl_train.training.embed import embed
from iospstl_train.training.model import make_model
from iospstl_train.training.onnx_file import to_onnx

TINY = MixerSettings(width=12, n_layers=2, embedding=8)


@pytest.fixture
def encoder():
    """As after some training: where joints rest, and how fast observations fade, matter."""
    torch.manual_seed(0)
    encoder = MaskMixer(TINY)
    with torch.no_grad():
        encoder.rest_m.uniform_(-0.5, 0.5)
        encoder.decay.fill_(0.2)
    return encoder.eval()


def draw_windows(n=3, persons=2, seed=1):
    """Return x and what is hidden of it, a third of the cells and one joint of each person."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, N_FRAMES, 25, persons, generator=generator)
    hidden = torch.rand(n, N_FRAMES, 25, persons, generator=generator) < 0.3
    hidden[:, :, 4] = True
    return x, hidden


def hide(x, hidden):
    return x.masked_fill(hidden[:, None], 0)


def test_values_of_hidden_cells_change_nothing(encoder):
    """A zero is no coordinate: to first order, the embedding does not follow it."""
    x, hidden = draw_windows()
    x = hide(x, hidden).requires_grad_()
    gradient = torch.autograd.grad(encoder(x).sum(), x)[0].abs().sum(dim=1)
    assert (gradient[hidden] == 0).all()
    assert (gradient[~hidden] > 0).all()


def test_rest_position_stands_in_where_a_joint_is_never_seen(encoder):
    """Only there does moving it change what is not observed; the token tells it from a sight."""
    x, hidden = draw_windows(1, 1)
    cells = encoder._describe_cells(hide(x, hidden)[..., 0].permute(0, 2, 3, 1))
    assert torch.equal(cells[0, :, 4], torch.zeros(N_FRAMES, 5))  # at rest, by the token only
    assert torch.equal(cells[..., 3] == 0, hidden[..., 0])


def test_estimate_is_a_mean_of_what_is_observed_and_nearer_counts_more(encoder):
    x = torch.zeros(1, 3, N_FRAMES, 25, 1)
    x[0, :, 10, 7], x[0, :, 20, 7] = 1.0, 3.0
    cells = encoder._describe_cells(x[..., 0].permute(0, 2, 3, 1)).detach()
    position = cells[0, :, 7, :3] / 4 + encoder.rest_m[7].detach()
    fade = float(torch.nn.functional.softplus(torch.tensor(0.2)))
    for frame in (0, 12, 15, 19, 49):
        weights = [np.exp(-abs(frame - seen) * fade) + 1e-6 for seen in (10, 20)]
        expected = (weights[0] * 1 + weights[1] * 3) / sum(weights)
        np.testing.assert_allclose(position[frame], expected, rtol=1e-4)
    np.testing.assert_allclose(position[10], 1, rtol=1e-5)
    near = cells[0, :, 7, 4]
    assert near[10] > near[12] > near[15] > near[49]


def test_absent_person_changes_nothing(encoder):
    x = draw_windows()[0]
    x[1, ..., 1] = 0
    both = encoder(x)
    torch.testing.assert_close(both[1:2], encoder(x[1:2, ..., :1]))
    assert not torch.allclose(both[0:1], encoder(x[0:1, ..., :1]))
    torch.testing.assert_close(encoder(x.flip(-1)), both)
    torch.testing.assert_close(encoder.train()(x), both)  # absent ones are then left out


def test_window_with_nobody_embeds(encoder):
    x = torch.zeros(2, 3, N_FRAMES, 25, 2)
    assert torch.equal(encoder(x), torch.zeros(2, 8))
    assert torch.equal(encoder.train()(x), torch.zeros(2, 8))


@pytest.mark.parametrize("exported", [1, 2])
@pytest.mark.parametrize("persons", [1, 2])
def test_onnx_says_what_torch_says(encoder, exported, persons, tmp_path):
    x = hide(*draw_windows(4))
    x[2, ..., 1] = 0
    path = tmp_path / "encoder.onnx"
    path.write_bytes(to_onnx(encoder, {"x": x[:2, ..., :exported]}, ["embedding"], {4: "m"}))
    model = OnnxModel(path, ["CPUExecutionProvider"])
    assert model.takes_any_persons
    x = x[..., :persons]
    expected = encoder(x).detach().numpy()
    np.testing.assert_allclose(model.run_windows(x.numpy())[0], expected, atol=1e-5)


def test_the_second_half_are_maxima_of_what_the_first_half_averages(encoder):
    mean, largest = encoder(draw_windows()[0]).chunk(2, dim=1)
    assert (largest > mean).all()


def test_gradients_reach_everything(encoder):
    encoder.train()(hide(*draw_windows())).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_windows_of_every_stream_embed(encoder):
    xyz = draw_windows()[0].numpy().transpose(0, 2, 4, 3, 1).copy()
    xyz[0, 5:9, 0, 3] = np.nan
    found = {stream: embed(encoder, xyz, stream) for stream in ("joint", "motion", "bone")}
    assert all(np.isfinite(values).all() for values in found.values())
    joint = encoder(torch.from_numpy(to_network(xyz))).detach().numpy()
    np.testing.assert_allclose(found["joint"], joint, atol=1e-6)
    assert not np.allclose(found["joint"], found["motion"])


def test_preset_chooses_the_encoder():
    config = load_config("mask-mixer")
    encoder = make_model(config).encoder
    assert isinstance(encoder, MaskMixer)
    assert encoder(torch.randn(2, 3, N_FRAMES, 25, 1)).shape == (2, config.mixer.embedding)
    small = load_config("small")
    assert (config.training.epochs, config.linear) == (small.training.epochs, small.linear)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.encoder=mixer", "training.encoder: input should be 'st-gcn' or 'mask-mixer'"),
        ("mixer.width=0", "mixer.width: input should be greater than or equal to 1, got 0"),
        ("mixer.widht=8", "unknown key 'widht'; did you mean 'width'"),
        ("mask_views.second=1.5", "mask_views.second: input should be less than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(InputError) as raised:
        load_config("mask-mixer", None, [change])
    assert message in str(raised.value)
