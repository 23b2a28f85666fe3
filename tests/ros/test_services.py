"""Transitions, services and parameters as an operator uses them: over DDS, from elsewhere."""

from dataclasses import fields

import pytest
from rclpy.parameter import Parameter
from std_msgs.msg import String

from iospstl_ros.settings import RecognizerParameters
from tests.ros.processes import wait_for_text
from tests.ros.tiny import raised_hand

NOW_NS = 1_795_000_000 * 10**9

pytestmark = pytest.mark.dds


@pytest.fixture
def std_srvs():
    return pytest.importorskip("std_srvs.srv")


@pytest.fixture
def waiting(processes, bundle):
    return processes.start(
        *("recognizer_node", "--bundle", bundle, "--input-topic", "/camera/people"),
        *("--no-autostart", "--ros-args", "-p", "infer_rate_hz:=50.0"),
    )


@pytest.fixture
def running(waiting, partner):
    assert partner.change_state("configure")
    assert partner.change_state("activate")
    partner.wait_until_connected()
    return waiting


def test_every_transition_can_be_asked_for(waiting, partner):
    assert partner.state() == "unconfigured"
    assert partner.available_transitions() == {"configure", "shutdown"}
    for transition, state in (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
        ("configure", "inactive"),
        ("activate", "active"),
        ("active shutdown", "finalized"),
    ):
        assert partner.change_state(transition)
        assert partner.state() == state
    assert partner.available_transitions() == set()
    assert waiting.poll() is None


@pytest.mark.parametrize("steps", [[], ["configure"]])
def test_shutdown_is_possible_from_every_state(waiting, partner, steps):
    for step in steps:
        assert partner.change_state(step)
    assert partner.change_state("inactive shutdown" if steps else "shutdown")
    assert partner.state() == "finalized"


def test_impossible_transitions_are_refused_and_the_node_lives(waiting, partner):
    for transition in ("activate", "deactivate", "cleanup", 200):
        assert not partner.change_state(transition)
    assert partner.state() == "unconfigured"
    assert partner.change_state("configure")
    for transition in ("configure", "deactivate", "shutdown"):
        assert not partner.change_state(transition)
    assert partner.change_state("activate")
    assert partner.state() == "active"


def test_a_transition_that_fails_says_so_and_can_be_tried_again(processes, partner, tmp_path):
    process = processes.start("recognizer_node", "--bundle", tmp_path, "--no-autostart")
    assert not partner.change_state("configure")
    assert partner.state() == "unconfigured"
    wait_for_text(process, f"configure failed: {tmp_path}: expected a bundle, got no manifest")


def test_reset_forgets_the_windows(running, partner, std_srvs):
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    assert partner.spin_until(lambda: "hand up" in partner.labels())
    response = partner.call(std_srvs.Trigger, "reset")
    assert (response.success, response.message) == (True, "all windows are forgotten")
    assert partner.spin_until(lambda: len(partner.deleted()) == 4)
    partner.heard[String].clear()
    next_ns = partner.play(1, raised_hand(7, 0.4), next_ns)  # one too few for a label
    partner.spin_for(0.3)
    assert partner.labels() == []
    partner.play(1, raised_hand(3, 0.4), next_ns)
    assert partner.spin_until(lambda: "hand up" in partner.labels())


def test_a_paused_node_listens_to_nothing(running, partner, std_srvs):
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    assert partner.spin_until(lambda: "hand up" in partner.labels())
    response = partner.call(std_srvs.SetBool, "enable", data=False)
    assert (response.success, response.message) == (True, "paused")
    assert partner.spin_until(lambda: partner.clouds.get_subscription_count() == 0)
    assert partner.spin_until(lambda: len(partner.deleted()) == 4)
    assert partner.wait_for_status(lambda values: values["state"] == "paused")
    assert partner.status().message.startswith(("paused", "runs on"))
    assert partner.state() == "active"
    response = partner.call(std_srvs.SetBool, "enable", data=False)
    assert (response.success, response.message) == (True, "was paused already")
    partner.heard[String].clear()
    assert partner.call(std_srvs.SetBool, "enable", data=True).message == "enabled"
    partner.wait_until_connected()
    partner.play(1, raised_hand(20, -0.6), next_ns)
    assert partner.spin_until(lambda: "hand down" in partner.labels())
    assert "hand up" not in partner.labels()


def test_a_node_may_be_paused_before_it_is_activated(waiting, partner, std_srvs):
    assert partner.change_state("configure")
    response = partner.call(std_srvs.SetBool, "enable", data=False)
    assert (response.success, response.message) == (True, "paused from the next activation on")
    assert partner.change_state("activate")
    assert partner.wait_for_status(lambda values: values["state"] == "paused")
    assert partner.clouds.get_subscription_count() == 0
    assert partner.call(std_srvs.SetBool, "enable", data=True).success
    partner.wait_until_connected()
    assert partner.change_state("deactivate")
    assert partner.spin_until(lambda: partner.clouds.get_subscription_count() == 0)


def test_parameters_are_listed_read_and_set(running, partner):
    assert partner.parameter_names() >= {item.name for item in fields(RecognizerParameters)}
    assert partner.get_parameters("infer_rate_hz", "unknown_label") == [50.0, "unknown"]
    assert partner.set_parameter(Parameter("unknown_label", value="nothing")) == (True, "")
    assert partner.get_parameters("unknown_label") == ["nothing"]
    for name, value, reason in (
        ("unknown_label", "", "expected a word"),
        ("score_threshold", 2.0, "range"),
        ("infer_rate_hz", 5, "type"),
        ("bundle", "other", "read-only"),
        ("no_such_name", 1, "declare"),
    ):
        is_set, why = partner.set_parameter(Parameter(name, value=value))
        assert not is_set
        assert reason in why
    assert partner.get_parameters("unknown_label", "infer_rate_hz") == ["nothing", 50.0]


def test_a_parameter_acts_at_once(running, partner):
    assert partner.set_parameter(Parameter("min_frames", value=25))[0]
    next_ns = partner.play(1, raised_hand(24, 0.4), NOW_NS)
    partner.spin_for(0.3)
    assert partner.labels() == []
    assert partner.set_parameter(Parameter("min_frames", value=3))[0]
    partner.play(1, raised_hand(1, 0.4), next_ns)
    assert partner.spin_until(lambda: "hand up" in partner.labels())
