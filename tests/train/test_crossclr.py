"""Two streams that teach each other: motion of what is seen, losses of both stages."""

import math

import pytest
import torch

from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.contrast import ContrastSettings, contrast_loss
from iospstl_train.methods.crossclr import CrossClr, CrossClrSettings, cross
from iospstl_train.models.stgcn import EncoderSettings, StgcnEncoder
from iospstl_train.models.stream_encoders import StreamEncoders, make_stream
from tests.reference import contrast as reference

CONTRAST = ContrastSettings(feature_size=5, queue_size=12, momentum=0.75, temperature=0.2)
SHAPE = EncoderSettings(widths=(4, 6), strides=(2, 2), temporal_kernel=3, dropout=0.0)


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def make_method(**changes):
    torch.manual_seed(0)
    encoders = StreamEncoders({name: StgcnEncoder(SHAPE) for name in ("joint", "motion")}, 6)
    settings = CrossClrSettings(cross_epoch=2, **changes)
    return CrossClr(encoders, 6, CONTRAST, settings, AugmentSettings(shear=0.5))


def draw_batch(n=6):
    return torch.randn(n, 3, 50, 25, 1, generator=generate(1)), torch.zeros(n, 25)


def test_motion_by_hand():
    """Seen at 1, 3, 6, not seen, 10, 11: it moved by 2, 3 and 1, and nobody knows the rest."""
    x = torch.zeros(1, 3, 6, 25, 2)
    x[0, :, :, 4, 0] = torch.tensor([1.0, 3, 6, 0, 10, 11])
    motion = make_stream(x, "motion")
    assert motion[0, 0, :, 4, 0].tolist() == [2, 3, 0, 0, 1, 0]
    assert not motion[..., 1].any()
    assert torch.equal(make_stream(x, "joint"), x)
    with pytest.raises(ValueError, match="expected joint or motion, got 'bone'"):
        make_stream(x, "bone")


def test_a_joint_on_a_plane_of_the_center_is_seen():
    x = torch.zeros(1, 3, 3, 25, 1)
    x[0, :, :, 2, 0] = torch.tensor([[0.0, 1, 0], [2, 2, 2], [0, 0, 0]])
    assert make_stream(x, "motion")[0, 0, :, 2, 0].tolist() == [1, -1, 0]


def test_embeddings_stand_side_by_side():
    encoder = make_method().encoder.eval()
    x, _ = draw_batch()
    found = encoder(x)
    assert found.shape == (6, 12)
    assert encoder.part_sizes == (6, 6)
    torch.testing.assert_close(found[:, :6], encoder.encoders["joint"](x))
    motion = encoder.encoders["motion"](make_stream(x, "motion"))
    torch.testing.assert_close(found[:, 6:], motion)


def test_crossing_by_hand():
    """The other stream's nearest is the second of the queue: cosine 0.1 here, product 0.09."""
    own, other = torch.tensor([[0.5, 0.4, 0.1]]), torch.tensor([[0.2, 0.3, 0.9]])
    candidates, positive = cross(own, other, CrossClrSettings())
    torch.testing.assert_close(candidates, torch.tensor([[0.5, 0.4, 0.1, 0.12, 0.09]]))
    assert positive.tolist() == [[True, False, True, False, True]]
    total = sum(math.exp(value) for value in (0.5, 0.4, 0.1, 0.12, 0.09))
    expected = math.log(total) - (0.5 + 0.1 + 0.09) / 3
    assert float(contrast_loss(candidates, positive, 1.0)) == pytest.approx(expected)
    candidates, positive = cross(own, other, CrossClrSettings(context=False))
    assert torch.equal(candidates, own)
    assert positive.tolist() == [[True, False, True]]
    _, positive = cross(own, other, CrossClrSettings(context=False, neighbors=2))
    assert positive.all()


def plain_losses(features, keys, queues, is_crossing):
    """Return the losses of both streams, number by number."""
    rows = {
        name: [
            reference.cosines(query, key, queues[name])
            for query, key in zip(features[name], keys[name], strict=True)
        ]
        for name in features
    }
    losses = {}
    for name, other in (("joint", "motion"), ("motion", "joint")):
        candidates, positives = [], []
        for own, theirs in zip(rows[name], rows[other], strict=True):
            if is_crossing:
                index = 1 + reference.nearest(theirs[1:])
                context = [a * b for a, b in zip(own[1:], theirs[1:], strict=True)]
                candidates.append(own + context)
                positives.append([0, index, len(own) + index - 1])
            else:
                candidates.append(own)
                positives.append([0])
        losses[name] = reference.mean_loss(candidates, positives, 0.2)
    return losses


@pytest.mark.parametrize("epoch", [0, 1, 2, 5])
def test_losses_are_those_of_the_plain_version(epoch):
    method = make_method().double()
    method.begin_epoch(epoch)
    x, hidden_frac = draw_batch()
    queries, keys, queues = {}, {}, {}
    for name in ("joint", "motion"):

        def note(_, __, out, name=name, found=queries):
            found[name] = out.tolist()

        def note_key(_, __, out, name=name):
            keys[name] = out.tolist()

        method.projector[name].register_forward_hook(note)
        method.keys[name].head.register_forward_hook(note_key)
        queues[name] = method.keys[name].queue.tolist()
    parts = method(x.double(), hidden_frac, generate())
    expected = plain_losses(queries, keys, queues, is_crossing=epoch >= 2)
    assert float(parts["loss_joint"].detach()) == pytest.approx(expected["joint"])
    assert float(parts["loss_motion"].detach()) == pytest.approx(expected["motion"])
    assert float(parts["loss"].detach()) == pytest.approx(sum(expected.values()))


def followed(method, epoch):
    """Return which key networks moved in a step, of encoder and head."""
    method.begin_epoch(epoch)
    with torch.no_grad():
        for weight in (*method.encoder.parameters(), *method.projector.parameters()):
            weight.add_(0.01)
    before = {name: value.clone() for name, value in method.keys.named_parameters()}
    method(*draw_batch(), generate())
    after = dict(method.keys.named_parameters())
    return {
        name.split(".")[0] + "." + name.split(".")[1]
        for name, value in before.items()
        if not torch.equal(after[name], value)
    }


def test_published_keys_of_the_joints_stand_still_while_crossing():
    everything = {"joint.encoder", "joint.head", "motion.encoder", "motion.head"}
    assert followed(make_method(), 2) == everything
    assert followed(make_method(keys_follow="motion"), 1) == everything
    only = {"motion.encoder", "motion.head"}
    assert followed(make_method(keys_follow="motion"), 2) == only


def test_published_head_of_the_motion_ends_in_that_of_the_joints():
    method = make_method(shared_head=True)
    assert method.projector["motion"][-1] is method.projector["joint"]
    assert method.keys["motion"].head[-1] is method.keys["joint"].head
    method(*draw_batch(), generate())["loss"].backward()
    for weight in method.projector.parameters():
        assert weight.grad.isfinite().all()
    assert not any(weight.requires_grad for weight in method.keys.parameters())
    assert make_method().projector["motion"][-1] is not make_method().projector["joint"]


def test_both_streams_learn_from_one_another():
    """With context, the loss of the joints reaches the encoder of the motion."""
    method = make_method()
    method.begin_epoch(2)
    method(*draw_batch(), generate())["loss_joint"].backward()
    for name in ("joint", "motion"):
        weight = method.encoder.encoders[name].blocks[0].spatial.weight
        assert weight.grad.abs().max() > 0
