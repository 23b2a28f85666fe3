"""Distribution `iospstl_ros`: pip makes a wheel of it, colcon an ament_python package."""

import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup

HERE = Path(__file__).resolve().parent  # `colcon build --symlink-install` runs a link to this file
PACKAGE = "iospstl_ros"
PACKAGES = ("iospstl_core", "iospstl_train", "iospstl_ros")

# `colcon build` runs `setup.py install` or `setup.py develop`; pip runs neither.
BY_COLCON = not {"install", "develop"}.isdisjoint(sys.argv)

# The wheels of ONNX Runtime for GPUs, and those of ROS 2, exist for this platform only.
X86_LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"

ROS = [
    f"ros-rclpy[fastrtps]>=7.1,<8; {X86_LINUX}",  # 7.1 is Jazzy, and so are these messages
    f"ros-std-msgs<5.4; {X86_LINUX}",
    f"ros-sensor-msgs<5.4; {X86_LINUX}",
    f"ros-visualization-msgs<5.4; {X86_LINUX}",
    f"ros-diagnostic-msgs<5.4; {X86_LINUX}",
    f"ros-std-srvs<5.4; {X86_LINUX}",
]
TRAIN = [
    "annotated-types",
    "embreex",
    "joblib>=1.4",
    "lightning-fabric>=2.4",  # several processes that train together
    "matplotlib",
    "onnx",
    "pillow",
    "pydantic>=2",
    "pyyaml",
    "scikit-learn>=1.4",
    "tensorboard",
    "threadpoolctl",
    "torch>=2.4",
    "tqdm",
    "trimesh",
]
DASK = ["dask", "distributed"]
BAGS = ["pyyaml", "rosbags>=0.11.9", "tqdm"]
TEST = [
    "hypothesis",
    "onnx",
    "pytest<9",
    "pytest-timeout",
]  # pytest 9 breaks the plugin of launch_testing


class WithData(Distribution):
    """Lets `pip install --editable` install data_files too: setuptools asks for `has_data`."""

    def has_data(self):
        return self.has_data_files()


def files(folder, pattern):
    """Return the files of a folder beside this one, as setuptools wants them: relative."""
    return sorted(path.relative_to(HERE).as_posix() for path in (HERE / folder).glob(pattern))


setup(
    distclass=WithData,
    name=PACKAGE,
    version="0.4.0",
    description="Skeleton-based action recognition under occlusion: toolkit and ROS 2 node",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="IosPSTL maintainers",
    python_requires=">=3.10",
    packages=find_packages(include=[name for top in PACKAGES for name in (top, f"{top}.*")]),
    package_data={"": ["py.typed"], "iospstl_train": ["presets/*.yaml", "data/*.txt"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", files("launch", "*.launch.py")),
        (f"share/{PACKAGE}/config", files("config", "*.yaml")),
        (f"share/{PACKAGE}/config/paper", files("config/paper", "*.yaml")),
        (f"share/{PACKAGE}/config/joint_maps", files("config/joint_maps", "*.yaml")),
        (f"share/{PACKAGE}/rviz", files("rviz", "*.rviz")),
        # colcon puts the commands themselves there; links to these would take their place.
        *([] if BY_COLCON else [(f"lib/{PACKAGE}", files("scripts", "iospstl-*"))]),
    ],
    entry_points={
        "console_scripts": [
            "iospstl-train = iospstl_train.cli:main",
            "iospstl-recognizer = iospstl_ros.recognizer_node:main",
            "iospstl-player = iospstl_ros.player:main",
        ]
    },
    install_requires=[
        "faiss-cpu",
        "numpy>=1.26",
        f"onnxruntime-gpu; {X86_LINUX}",  # runs on the CPU too
        "onnxruntime; sys_platform != 'linux' or platform_machine != 'x86_64'",
        "pyyaml",  # joint maps
    ],
    extras_require={
        "train": TRAIN,
        "ros": ROS,
        "dask": DASK,
        "bags": BAGS,  # label-bag and the player's bags, on a machine without ROS too
        "baselines": ["pypots"],
        "test": TEST,  # by this name `colcon test` knows that there are tests
        "dev": [*TEST, *DASK, *BAGS, "mypy", "ruff", "types-PyYAML", "types-tqdm"],
    },
    zip_safe=False,
)
