"""Stands for ``vision_msgs.msg``, with the fields of its release 4."""

from dataclasses import dataclass, field
from typing import Any

from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
from std_msgs.msg import Header


@dataclass
class ObjectHypothesis:
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose:
    hypothesis: ObjectHypothesis = field(default_factory=ObjectHypothesis)
    pose: Any = field(default_factory=PoseWithCovariance)


@dataclass
class BoundingBox3D:
    center: Any = field(default_factory=Pose)
    size: Any = field(default_factory=Vector3)


@dataclass
class Detection3D:
    header: Any = field(default_factory=Header)
    results: list = field(default_factory=list)
    bbox: BoundingBox3D = field(default_factory=BoundingBox3D)
    id: str = ""


@dataclass
class Detection3DArray:
    header: Any = field(default_factory=Header)
    detections: list = field(default_factory=list)
