"""The obvious way to recognise actions live, to compare with: one node, all in the callback.

    python benchmarks/live_baseline.py RECEIVED.json --bundle DIR

A callback decodes the cloud, appends to a window per person, and at every third frame fills the
gaps with scikit-learn's `KNNImputer`, fitted on the 670 donors of one cluster as in the published
code, and classifies with the PyTorch network. To its advantage, only one person's coordinates are
imputed, and the cluster is not looked for, which saves it the encoder.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from live_bundle import N_FRAMES, WINDOW_S, make_networks
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from sklearn.impute import KNNImputer
from std_msgs.msg import String

N_DONORS = 670
N_JOINTS = 25
EVERY = 3
FRAME_HZ = 30


class Baseline(Node):  # type: ignore[misc]
    """Subscribes, and answers every third frame before it looks at the next one."""

    def __init__(self, bundle: Path) -> None:
        super().__init__("recognizer")
        self.received = 0
        self._network = make_networks()[1]
        self._imputer = fit_imputer(bundle)
        self._windows: dict[int, deque[NDArray[np.float32]]] = defaultdict(
            lambda: deque(maxlen=round(WINDOW_S * FRAME_HZ))
        )
        self._label = self.create_publisher(String, "action_label", 10)
        self._stamp = self.create_publisher(PointCloud2, "~/imputed", 10)
        self.create_subscription(PointCloud2, "skeletons", self._receive, 10)

    def _receive(self, message: Any) -> None:
        self.received += 1
        table = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, -1)
        columns = table.view(np.float32).reshape(message.height, N_JOINTS, -1)
        for row in columns:
            person = int(row[:1, 4].view(np.uint32)[0])
            self._windows[person].append(row[:, :3].copy())
        if self.received % EVERY:
            return
        labels = [self._recognize(np.stack(window)) for window in self._windows.values()]
        self._label.publish(String(data=str(labels[0])))
        self._stamp.publish(PointCloud2(header=message.header, height=len(labels)))

    def _recognize(self, xyz: NDArray[np.float32]) -> int:
        """Return the class of one person's frames (n, n_joints, 3)."""
        xyz = xyz - np.nanmean(xyz[:, 0], axis=0)
        rows = np.linspace(0, len(xyz) - 1, N_FRAMES).round().astype(int)
        filled = self._imputer.transform(xyz[rows].reshape(1, -1))
        x = np.zeros((1, 3, N_FRAMES, N_JOINTS, 2), dtype=np.float32)
        x[..., 0] = filled.reshape(1, N_FRAMES, N_JOINTS, 3).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            return int(self._network(torch.from_numpy(x))[0].argmax())


def fit_imputer(bundle: Path) -> KNNImputer:
    """Return an imputer that knows the first person of some donors of the bank."""
    donors = np.load(bundle / "bank" / "donors.npy", mmap_mode="r")[:N_DONORS]
    bits = np.load(bundle / "bank" / "observed.npy", mmap_mode="r")[:N_DONORS]
    observed = np.unpackbits(bits, axis=1, count=int(np.prod(donors.shape[1:4])))
    observed = observed.reshape(donors.shape[:4])[:, :, 0]
    values = np.where(observed[..., None] == 1, donors[:, :, 0], np.nan).astype(np.float32)
    imputer = KNNImputer(n_neighbors=5, weights="distance", keep_empty_features=True)
    return imputer.fit(values.reshape(len(values), -1))


def main() -> int:
    """Spin until a signal comes, then write how many frames were received."""
    rclpy.init()
    node = Baseline(Path(sys.argv[sys.argv.index("--bundle") + 1]))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        Path(sys.argv[1]).write_text(json.dumps({"received": node.received}) + "\n")
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
