"""What `iospstl-recognizer` and `iospstl-player` share: arguments, exit status, a clean end."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args

from iospstl_core.errors import EXIT_OK, EXIT_USER_FAULT, InputError
from iospstl_ros.adapters import MAKERS
from iospstl_ros.parameter_list import list_adapters, list_parameters

_SPIN_TIMEOUT_S = 0.5


def run_recognizer(node_class: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Start the recogniser as told by the command line, and spin it until a signal comes."""
    return run_until_signal(
        _recognizer_parser(), arguments, lambda options: _spin(node_class, options)
    )


def run_until_signal(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    body: Callable[[argparse.Namespace], int],
) -> int:
    """Run `body` between rclpy's start and its end.

    Parameters
    ----------
    parser : ArgumentParser
        Parses what is left of the arguments without those for ROS.
    arguments : sequence of str
        The whole command line, program name first.
    body : callable
        Gets the parsed options; returns the exit status.

    Returns
    -------
    int
        What `body` returned; 0 after SIGINT or SIGTERM; 2, with one sentence on stderr, after a
        fault of the user's.
    """
    try:
        options = parser.parse_args(remove_ros_args(list(arguments))[1:])
        rclpy.init(args=list(arguments))
        return body(options)
    except (KeyboardInterrupt, ExternalShutdownException):
        return EXIT_OK
    except (InputError, ParameterException, OSError) as error:
        return _fail(parser.prog, error)
    except Exception as error:
        if type(error).__name__.startswith(("RCLInvalidROSArgs", "UnknownROSArgs")):
            return _fail(parser.prog, error)
        if rclpy.ok():
            raise
        return EXIT_OK  # a signal took the context away in the middle of a call
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        rclpy.try_shutdown()


def _fail(program: str, error: Exception) -> int:
    sys.stderr.write(f"{program}: {error}\n")
    return EXIT_USER_FAULT


def _recognizer_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iospstl-recognizer",
        description="Recognise actions in a live topic of skeletons. ROS arguments (--ros-args "
        "...) are understood as well.",
    )
    parser.add_argument("--bundle", metavar="DIR", help="folder of the bundle to run")
    parser.add_argument(
        "--adapter",
        metavar="NAME",
        choices=("", *MAKERS),
        help=f"form of the input: {', '.join(MAKERS)}",
    )
    parser.add_argument(
        "--input-topic", metavar="T", help="topic of the skeletons (default: skeletons)"
    )
    parser.add_argument("--params-file", metavar="F", help="YAML file with parameters")
    parser.add_argument(
        "--autostart",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="configure and activate at once (default), or wait for lifecycle requests",
    )
    parser.add_argument(
        "--events-executor",
        action="store_true",
        help="spin with rclpy's EventsExecutor (experimental) instead of the single-threaded one",
    )
    for option, write, text in (
        ("--list-params", list_parameters, "say what parameters there are, and end"),
        ("--list-adapters", list_adapters, "say what forms of input there are, and end"),
    ):
        parser.add_argument(option, action=_Write, nargs=0, const=write, help=text)
    return parser


class _Write(argparse.Action):
    """Writes what its constant returns, and ends the program, as ``--help`` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Answer the option."""
        sys.stdout.write(self.const())
        parser.exit()


def _spin(node_class: Callable[..., Any], options: argparse.Namespace) -> int:
    node = _make_node(node_class, options)
    gc.collect()
    gc.freeze()  # what was imported stays: looking for cycles in it would stop us for 30 ms
    executor = _make_executor(options.events_executor)
    try:
        if options.autostart and not _start(node):
            raise InputError(node.fault)
        executor.add_node(node)
        _spin_forever(executor, node)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.release()
        executor.shutdown()
        node.destroy_node()
    return EXIT_OK


def _make_node(node_class: Callable[..., Any], options: argparse.Namespace) -> Any:
    ros_arguments = ["--ros-args"]
    if options.input_topic:
        ros_arguments += ["-r", f"skeletons:={options.input_topic}"]
    if options.params_file:
        ros_arguments += ["--params-file", options.params_file]
    given = {"bundle": options.bundle, "adapter": options.adapter}
    overrides = [Parameter(name, value=value) for name, value in given.items() if value]
    return node_class(cli_args=ros_arguments, parameter_overrides=overrides)


def _make_executor(is_events: bool) -> Any:
    """Return the executor; raise InputError where this rclpy has not the one asked for."""
    if not is_events:
        return SingleThreadedExecutor()
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError as error:
        raise InputError(
            "events-executor: expected an rclpy with rclpy.experimental.EventsExecutor (Jazzy or "
            f"newer), got {error}; leave the option out"
        ) from error
    return EventsExecutor()


def _start(node: Any) -> bool:
    """Configure and activate; return whether both succeeded."""
    success = TransitionCallbackReturn.SUCCESS
    return bool(node.trigger_configure() == success and node.trigger_activate() == success)


def _spin_forever(executor: Any, node: Any) -> None:
    """Spin until the context ends; what a callback raises is logged, not fatal.

    Not by ``executor.spin()``: that of the EventsExecutor of some releases never calls anybody.
    """
    while rclpy.ok():
        try:
            executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
        except (KeyboardInterrupt, ExternalShutdownException):
            return
        except Exception:
            if rclpy.ok():
                node.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
