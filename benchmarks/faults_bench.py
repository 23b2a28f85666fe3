"""Where faults happen: a tiny bundle, nodes of its own, and somebody who talks to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from std_msgs.msg import String

from tests.ros.partner import Partner
from tests.ros.processes import Processes, wait_for_text
from tests.ros.tiny import make_bundle, raised_hand

NOW_NS = 1_795_000_000 * 10**9
FRAME_NS = 33_000_000


@dataclass(frozen=True)
class Outcome:
    """What happened.

    Attributes
    ----------
    fault, what : str
    is_expected : bool
    """

    fault: str
    what: str
    is_expected: bool


class Bench:
    """A folder, the partner of all nodes, and their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = make_bundle(folder / "bundle")
        self.processes = Processes(folder)
        self.partner = Partner()

    @contextmanager
    def node(self, *arguments: str, bundle: Path | None = None) -> Iterator[Any]:
        """Run a recogniser for one fault."""
        process = self.processes.start(
            *("recognizer_node", "--bundle", str(bundle or self.bundle)),
            *("--input-topic", "/camera/people", "--ros-args", "-p", "infer_rate_hz:=50.0"),
            *arguments,
        )
        wait_for_text(process, "listens to")
        self.partner.wait_until_connected()
        for heard in self.partner.heard.values():
            heard.clear()
        self.partner.events.clear()
        try:
            yield process
        finally:
            self.processes.stop(process)
            self.partner.spin_until(lambda: self.partner.clouds.get_subscription_count() == 0)

    def recognizes(self, height_m: float = 0.4, start_ns: int = NOW_NS) -> bool:
        """Whether a person with a raised or lowered hand gets the right label."""
        self.partner.heard[String].clear()
        self.partner.play(1, raised_hand(30, height_m), start_ns, pause_s=0.02)
        label = "hand up" if height_m > 0 else "hand down"
        return bool(self.partner.spin_until(lambda: label in self.partner.labels(), 5.0))

    def values(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Return the first diagnostics that fulfil a condition."""
        found: dict[str, str] = self.partner.wait_for_status(condition)
        return found
