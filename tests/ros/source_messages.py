"""Messages of every source, of the real shape, made from one pose by tables of their own.

Nothing here reads the joint maps: orders and axes are typed again, from the drivers' definitions.
"""

from types import SimpleNamespace

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseArray
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.ros4hri import BodySkeleton

STAMP_NS = 1_795_000_000_123_456_789


def raised_hand(x_m=0.3):
    """A person who faces the camera, 2 m away, and raises the right hand; by joint, Kinect axes.

    Means of two joints are where other sources have the joint itself.
    """
    place = {name: np.array(xyz) for name, xyz in zip(NTU_25.joints, NTU_25.rest_m, strict=True)}
    place["SpineBase"] = (place["HipLeft"] + place["HipRight"]) / 2
    place["SpineShoulder"] = (place["ShoulderLeft"] + place["ShoulderRight"]) / 2
    place["SpineMid"] = (place["SpineBase"] + place["SpineShoulder"]) / 2
    shoulder = place["ShoulderRight"]
    for joint, offset in (
        ("ElbowRight", (0.15, 0.22, -0.05)),
        ("WristRight", (0.12, 0.46, -0.1)),
        ("HandRight", (0.11, 0.54, -0.11)),
        ("HandTipRight", (0.11, 0.62, -0.12)),
        ("ThumbRight", (0.08, 0.57, -0.13)),
    ):
        place[joint] = shoulder + offset
    for side, sign in (("Left", -1), ("Right", 1)):
        place[f"Ear{side}"] = place["Head"] + np.array([sign * 0.07, 0, 0])
        place[f"Eye{side}"] = place["Head"] + np.array([sign * 0.03, 0.03, -0.09])
        place[f"Clavicle{side}"] = place["SpineShoulder"] + np.array([sign * 0.05, 0, 0])
        place[f"Heel{side}"] = place[f"Ankle{side}"] + np.array([0, -0.05, 0.05])
        for name, joint in (("Toe", "Foot"), ("Knuckle", "Hand")):
            place[f"Big{name}{side}"] = place[joint + side] + np.array([-0.03, 0, 0])
            place[f"Small{name}{side}"] = place[joint + side] + np.array([0.03, 0, 0])
    place["Nose"] = place["Head"] + np.array([0, -0.02, -0.1])
    return {name: xyz + np.array([x_m, 0.1, 2.0]) for name, xyz in place.items()}


def joints_of(place):
    """The joints of the models, (25, 3)."""
    return np.array([place[name] for name in NTU_25.joints], dtype=np.float32)


def optical(xyz):
    x, y, z = xyz
    return -x, -y, z


def forward_left_up(xyz):
    x, y, z = xyz
    return z, x, y


def openni_mm(xyz):
    x, y, z = xyz
    return -1000 * x, 1000 * y, 1000 * z


def both(pattern, *names):
    return [pattern.format(name, side) for name in names for side in ("Left", "Right")]


def arm(side):
    joints = ("Clavicle", "Shoulder", "Elbow", "Wrist", "Hand", "HandTip", "Thumb")
    return [joint + side for joint in joints]


def leg(side):
    return [joint + side for joint in ("Hip", "Knee", "Ankle", "Foot")]


K4ABT_32 = [
    *("SpineBase", "SpineMid", "SpineShoulder", "Neck", *arm("Left"), *arm("Right")),
    *(*leg("Left"), *leg("Right"), "Head", "Nose", "EyeLeft", "EarLeft", "EyeRight", "EarRight"),
]
ZED_34 = [*K4ABT_32, "HeelLeft", "HeelRight"]
_OPENPOSE = [
    *("Nose", "SpineShoulder", "ShoulderRight", "ElbowRight", "WristRight"),
    *("ShoulderLeft", "ElbowLeft", "WristLeft", "HipRight", "KneeRight", "AnkleRight"),
    *("HipLeft", "KneeLeft", "AnkleLeft"),
]
ZED_18 = [*_OPENPOSE, "EyeRight", "EyeLeft", "EarRight", "EarLeft"]
SKELETON_2D = [*_OPENPOSE, "EyeLeft", "EyeRight", "EarLeft", "EarRight"]
ZED_38 = [
    *("SpineBase", "SpineBase", "SpineMid", "SpineShoulder", "Neck", "Nose"),
    *both("{}{}", "Eye", "Ear", "Clavicle", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"),
    *both("{}{}", "BigToe", "SmallToe", "Heel", "Thumb", "BigKnuckle", "HandTip", "SmallKnuckle"),
]
COCO_17 = [
    "Nose",
    *both("{}{}", "Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"),
]
NUITRACK = {
    **{1: "Head", 2: "Neck", 3: "SpineMid", 4: "SpineBase", 5: "SpineShoulder"},
    **{6: "ShoulderLeft", 7: "ElbowLeft", 8: "WristLeft", 9: "HandLeft"},
    **{11: "SpineShoulder", 12: "ShoulderRight", 13: "ElbowRight", 14: "WristRight"},
    **{15: "HandRight", 17: "HipLeft", 18: "KneeLeft", 19: "AnkleLeft"},
    **{21: "HipRight", 22: "KneeRight", 23: "AnkleRight"},
}
ROS4HRI = {
    **{"body": "SpineBase", "torso": "SpineShoulder", "r_head": "Neck", "head": "Head"},
    **{"l_shoulder": "ShoulderLeft", "l_elbow": "ElbowLeft", "l_wrist": "WristLeft"},
    **{"r_shoulder": "ShoulderRight", "r_elbow": "ElbowRight", "r_wrist": "WristRight"},
    **{"l_hip": "HipLeft", "l_knee": "KneeLeft", "l_ankle": "AnkleLeft"},
    **{"r_hip": "HipRight", "r_knee": "KneeRight", "r_ankle": "AnkleRight"},
}


def header(frame_id="camera", stamp_ns=STAMP_NS):
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


def k4a_markers(people, hidden=(), stamp_ns=STAMP_NS):
    """Real markers; what is hidden has none, as no driver does it."""
    markers = []
    for body, place in people.items():
        for joint, name in enumerate(K4ABT_32):
            if name not in hidden:
                x, y, z = (float(value) for value in optical(place[name]))
                marker = Marker(
                    header=header("depth_camera_link", stamp_ns), id=100 * body + joint
                )
                marker.type, marker.action = Marker.SPHERE, Marker.ADD
                marker.pose = Pose(position=Point(x=x, y=y, z=z))
                markers.append(marker)
    return MarkerArray(markers=markers)


def zed(people, hidden=(), body_format=2):
    order = (ZED_18, ZED_34, ZED_38)[body_format]
    objects = []
    for body, place in people.items():
        kept = np.zeros((70, 3), dtype=np.float32)  # beyond the format: whatever was there
        for joint, name in enumerate(order):
            kept[joint] = np.nan if name in hidden else forward_left_up(place[name])
        objects.append(
            SimpleNamespace(
                label=f"Body_{body}",
                label_id=body,
                confidence=80.0,
                tracking_available=True,
                tracking_state=1,
                skeleton_available=True,
                body_format=body_format,
                skeleton_3d=SimpleNamespace(keypoints=[SimpleNamespace(kp=kp) for kp in kept]),
            )
        )
    return SimpleNamespace(header=header("zed_left_camera_frame"), objects=objects)


def yolo(people, hidden=(), frame_id="camera_color_optical_frame", axes=optical):
    detections = []
    for body, place in people.items():
        data = []
        for joint, name in enumerate(COCO_17):
            if name not in hidden:
                x, y, z = axes(place[name])
                point = SimpleNamespace(x=x, y=y, z=z)
                data.append(SimpleNamespace(id=joint + 1, point=point, score=0.9))
        detections.append(
            SimpleNamespace(
                class_id=0,
                class_name="person",
                score=0.8,
                id=str(body),
                keypoints3d=SimpleNamespace(data=data, frame_id=frame_id),
            )
        )
    return SimpleNamespace(header=header("camera_color_optical_frame"), detections=detections)


def hiros(people, hidden=()):
    skeletons = []
    for body, place in people.items():
        markers = []
        for joint, name in enumerate(K4ABT_32):
            xyz = [np.nan] * 3 if name in hidden else optical(place[name])
            position = SimpleNamespace(**dict(zip("xyz", xyz, strict=True)))
            center = SimpleNamespace(pose=SimpleNamespace(position=position))
            markers.append(SimpleNamespace(id=joint, name="", confidence=0.7, center=center))
        skeletons.append(SimpleNamespace(id=body, confidence=1.0, markers=markers, links=[]))
    return SimpleNamespace(header=header("depth_camera_link"), skeletons=skeletons)


def nuitrack(people, hidden=()):
    skeletons = []
    for body, place in people.items():
        joints = []
        for joint in range(25):
            name = NUITRACK.get(joint)
            is_seen = name is not None and name not in hidden
            real = list(openni_mm(place[name])) if is_seen else [0.0, 0.0, 0.0]
            joints.append(
                SimpleNamespace(
                    type=joint,
                    confidence=0.75 if is_seen else 0.0,
                    real=real,
                    projection=[0.0, 0.0, 0.0],
                    orientation=[0.0] * 9,
                )
            )
        skeletons.append(SimpleNamespace(id=body, joints=joints))
    return SimpleNamespace(skeletons=skeletons)


def ids_list(names, stamp_ns=STAMP_NS):
    return SimpleNamespace(header=header("camera_optical_frame", stamp_ns), ids=list(names))


def skeleton_2d(body, hidden=(), stamp_ns=STAMP_NS):
    points = [SimpleNamespace(x=0.5, y=0.5, c=0.0 if n in hidden else 0.9) for n in SKELETON_2D]
    message = SimpleNamespace(header=header("camera_optical_frame", stamp_ns), skeleton=points)
    return BodySkeleton(body, message)


def transforms(people, stamp_ns=STAMP_NS):
    """What stands for TF: all joints of everybody, as inverse kinematics has it."""
    found = {}
    for body, place in people.items():
        for link, name in ROS4HRI.items():
            x, y, z = optical(place[name])
            found[f"{link}_{body}"] = SimpleNamespace(
                header=header("camera_optical_frame", stamp_ns),
                transform=SimpleNamespace(translation=SimpleNamespace(x=x, y=y, z=z)),
            )
    return lambda target, source: found.get(source) if target == "camera_optical_frame" else None


def pose_array(place):
    """COCO's joints of one person in order, as real poses."""
    poses = []
    for name in COCO_17:
        x, y, z = (float(value) for value in forward_left_up(place[name]))
        poses.append(Pose(position=Point(x=x, y=y, z=z)))
    return PoseArray(header=header("base_link"), poses=poses)
