import json

import pytest
import yaml

from iospstl_core.errors import InputError
from iospstl_train.config import (
    Config,
    change_config,
    config_from_dict,
    config_to_dict,
    load_config,
    preset_names,
)


def write_yaml(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_later_sources_win(tmp_path):
    path = write_yaml(tmp_path / "mine.yaml", "training: {epochs: 7, batch_size: 9}\n")

    config = load_config("small", path, ["training.epochs=3"])

    small = load_config("small")
    assert config.training.epochs == 3
    assert config.training.batch_size == 9
    assert config.training.learning_rate == small.training.learning_rate
    assert config.encoder == small.encoder != Config().encoder
    assert config.opstl == small.opstl != Config().opstl


def test_nothing_given_is_the_default():
    assert load_config() == Config()


def test_last_override_wins():
    assert load_config(overrides=["linear.epochs=3", "linear.epochs=4"]).linear.epochs == 4


def test_values_that_depend_on_each_other_change_together():
    config = load_config("small", None, ["encoder.widths=[8,16]", "encoder.strides=[2,2]"])
    assert config.encoder.widths == (8, 16)
    assert config.encoder.strides == (2, 2)


def test_override_is_yaml():
    texts = ["training.learning_rate=1e-3", "augment.per_sample=no", "opstl.joint_draw=tickets"]
    config = load_config(overrides=texts)
    assert config.training.learning_rate == 1e-3
    assert config.augment.per_sample is False
    assert config.opstl.joint_draw == "tickets"


def test_file_may_be_empty(tmp_path):
    assert load_config(path=write_yaml(tmp_path / "empty.yaml", "# nothing\n")) == Config()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainin.epochs=3", "--set: unknown section 'trainin'; did you mean 'training'?"),
        ("training.epoch=3", "--set: training: unknown key 'epoch'; did you mean 'epochs'?"),
        ("training.zzz=3", "training: unknown key 'zzz'; known: epochs, batch_size"),
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("training.epochs=2.5", "training.epochs: input should be a valid integer"),
        ("training.epochs=", "training.epochs: input should be a valid integer"),
        ("training.epochs=0", "training.epochs: input should be greater than or equal to 1"),
        ("training.learning_rate=0", "training.learning_rate: input should be greater than 0"),
        ("training.learning_rate=.nan", "training.learning_rate: .* got nan"),
        ("training.weight_decay=-1", "training.weight_decay: input should be greater"),
        ("training.stream=bones", "training.stream: input should be 'joint', 'motion' or 'bone'"),
        ("encoder.dropout=1", "encoder.dropout: input should be less than 1"),
        ("encoder.widths=8", "encoder.widths: input should be a valid tuple"),
        (
            "encoder.strides=[1,1]",
            "encoder.strides: expected one for each of the 10 widths, got 2",
        ),
        ("mixer.embedding=7", "mixer.embedding: expected an even number, got 7$"),
        ("encoder.temporal_kernel=4", "encoder.temporal_kernel: expected an odd number, got 4$"),
        ("training.method=opstk", "training.method: input should be 'auto', 'opstl', 'pstl'"),
        ("opstl.masked_joints=25", "opstl.masked_joints: expected fewer than the 25 joints"),
        ("opstl.masked_frames=25", "opstl.masked_frames: expected less than half of the 50"),
        ("restorer.steps=0", "restorer.steps: input should be greater than or equal to 1"),
        ("restorer.plain_masks=1.1", "restorer.plain_masks: input should be less than or equal"),
        ("restorer.held_out=1", "restorer.held_out: input should be less than 1"),
        ("realistic.n_objects=[2,1]", "realistic.n_objects: expected 1 <= low <= high <= 10"),
    ],
)
def test_fault_says_where_and_what(override, message):
    with pytest.raises(InputError, match=message):
        load_config(overrides=[override])


@pytest.mark.parametrize("method", ["opstl", "pstl", "aimclr"])
def test_methods_that_remove_joints_need_a_graph(method):
    faults = rf"training.method: expected one for encoder=mask-mixer, got '{method}', which needs"
    with pytest.raises(InputError, match=faults):
        load_config("mask-mixer", None, [f"training.method={method}"])


def test_method_left_to_the_encoder():
    names = [load_config(name).training.method_name for name in ("small", "mask-mixer", None)]
    assert names == ["opstl", "mask-views", "opstl"]
    chosen = load_config("small", None, ["training.method=mask-views"])
    assert chosen.training.method_name == "mask-views"


def test_encoder_needs_a_block():
    with pytest.raises(InputError, match=r"encoder.widths: expected at least one block"):
        load_config(overrides=["encoder.widths=[]", "encoder.strides=[]"])


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"training.epochs: .*; linear.epochs: "):
        load_config(overrides=["training.epochs=0", "linear.epochs=0"])


def test_changed_configuration_keeps_the_rest():
    config = load_config("small", None, ["restorer.width=32"])
    changed = change_config(config, ["restorer.steps=60"])
    assert (changed.restorer.width, changed.restorer.steps) == (32, 60)
    assert changed.training == config.training
    assert config.restorer.steps == Config().restorer.steps != 60
    assert change_config(config, []) == config
    with pytest.raises(InputError, match=r"--set: restorer: unknown key 'step'; did you mean"):
        change_config(config, ["restorer.step=60"])


@pytest.mark.parametrize("text", ["training.epochs", "epochs=3", "", "=", "training=3"])
def test_override_has_section_key_and_value(text):
    with pytest.raises(InputError, match=f"^--set: expected SECTION.KEY=VALUE, got '{text}'$"):
        load_config(overrides=[text])


def test_override_that_is_no_yaml():
    with pytest.raises(InputError, match=r"^--set training.epochs=\[1: expected YAML, got: .*$"):
        load_config(overrides=["training.epochs=[1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected sections with keys, got list"),
        ("5\n", "expected sections with keys, got int"),
        ("training: 5\n", "training: expected keys and values, got '5'"),
        ("training:\n", "training: expected keys and values, got 'None'"),
        ("a: [\n", "expected YAML, got"),
        ("1: {a: 2}\n", "unknown section '1'"),
        ("training: {epochs: x}\n", "training.epochs: input should be a valid integer"),
    ],
)
def test_fault_of_a_file_names_the_file(tmp_path, text, message):
    path = write_yaml(tmp_path / "mine.yaml", text)
    with pytest.raises(InputError) as caught:
        load_config(path=path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.yaml", tmp_path, binary):
        with pytest.raises(InputError, match="expected a readable YAML file"):
            load_config(path=path)


def test_every_preset_loads():
    assert {"paper", "small"} <= set(preset_names())
    for name in preset_names():
        assert load_config(name) != Config()


def test_unknown_preset_names_the_known():
    with pytest.raises(InputError, match=r"one of .*paper, paper/.*small, got 'papr'"):
        load_config("papr")


def test_round_trip(tmp_path):
    changes = ["realistic.n_objects=[1,3]", "training.stream=bone"]
    config = load_config("small", None, changes)
    described = config_to_dict(config)
    assert config_from_dict(json.loads(json.dumps(described)), "run.json") == config
    path = write_yaml(tmp_path / "whole.yaml", yaml.safe_dump(described))
    assert load_config(path=path) == config


def test_described_configuration_with_an_unknown_key_names_its_source():
    described = config_to_dict(Config())
    described["training"]["momentum"] = 0.9
    with pytest.raises(InputError, match=r"^run.json: training: unknown key 'momentum'"):
        config_from_dict(described, "run.json")
