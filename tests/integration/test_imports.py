"""Imports point one way: the table of the three packages, and what a robot's process loads."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROS_MODULES = frozenset(
    {
        "ament_index_python",
        "builtin_interfaces",
        "diagnostic_msgs",
        "geometry_msgs",
        "launch",
        "launch_ros",
        "lifecycle_msgs",
        "rcl_interfaces",
        "rclpy",
        "sensor_msgs",
        "sensor_msgs_py",
        "std_msgs",
        "std_srvs",
        "vision_msgs",
        "visualization_msgs",
    }
)
LIGHT = frozenset({"iospstl_core", "numpy", *sys.stdlib_module_names})

ALLOWED = {
    "iospstl_core": LIGHT | {"faiss", "onnxruntime"},
    "iospstl_ros": LIGHT | ROS_MODULES | {"iospstl_ros", "rosbags", "tqdm", "yaml"},
}
FORBIDDEN = {"iospstl_train": ROS_MODULES | {"iospstl_ros"}}

HEAVY = ("torch", "sklearn", "scipy", "iospstl_train")


def imported_modules(path):
    """Yield line and top-level name of every import of a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else node.module.partition(".")[0]


def wrong_imports(folder, is_wrong):
    """Return `file:line imports name` for every import that is wrong; relative ones always are."""
    return [
        f"{path.relative_to(folder.parent)}:{line} imports {name}"
        for path in sorted(folder.rglob("*.py"))
        for line, name in imported_modules(path)
        if name == "." or is_wrong(name)
    ]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_it_may(package):
    assert wrong_imports(ROOT / package, lambda name: name not in ALLOWED[package]) == []


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_package_imports_nothing_that_it_must_not(package):
    assert wrong_imports(ROOT / package, lambda name: name in FORBIDDEN[package]) == []


def test_every_package_is_checked():
    found = {path.parent.name for path in ROOT.glob("iospstl_*/__init__.py")}
    assert found == {*ALLOWED, *FORBIDDEN}


def test_wrong_import_is_found_where_it_hides(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "module.py").write_text(
        "import numpy\n\ndef late():\n    from torch.nn import Linear\n\nfrom . import other\n"
    )

    wrong = wrong_imports(folder, lambda name: name == "torch")

    assert sorted(wrong) == ["package/module.py:4 imports torch", "package/module.py:6 imports ."]


def loaded_by(module, names):
    """Return which of the names a new Python has loaded after importing a module."""
    code = f"import sys, {module}; print(*[name for name in {names!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_pipeline_loads_nothing_heavy():
    assert loaded_by("iospstl_core.pipeline", (*HEAVY, "rclpy", "iospstl_ros")) == []


def test_node_loads_nothing_heavy():
    if importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy is not installed here")
    assert loaded_by("iospstl_ros.recognizer_node", HEAVY) == []


def test_loaded_module_would_be_seen():
    assert loaded_by("json", ("json", "torch")) == ["json"]
