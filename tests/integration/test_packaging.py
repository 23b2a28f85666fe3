"""What pip and colcon install: everything that is there, and nothing that is not."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("iospstl_core", "iospstl_train", "iospstl_ros")


@pytest.fixture
def run_setup(monkeypatch):
    """A function that runs setup.py with a command and returns what it gives to setuptools.

    setuptools itself is not needed.
    """
    given = {}
    setuptools = types.ModuleType("setuptools")
    setuptools.setup = given.update
    setuptools.find_packages = lambda include: include
    setuptools.Distribution = object
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.chdir(ROOT)

    def run(command):
        monkeypatch.setattr(sys, "argv", ["setup.py", command])
        runpy.run_path("setup.py")
        return given

    return run


@pytest.fixture
def distribution(run_setup):
    """What setup.py gives to setuptools when pip runs it."""
    return run_setup("bdist_wheel")


def package_files():
    """Yield package and path inside it of every file that is not left over by a tool."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield package, path.relative_to(ROOT / package)


def data_folders():
    """The folders whose files are installed as they are, those inside them too."""
    tops = [ROOT / name for name in ("launch", "config", "rviz")]
    inside = [path for top in tops for path in top.rglob("*") if path.name != "__pycache__"]
    folders = [path for path in [*tops, *inside] if path.is_dir()]
    return [path.relative_to(ROOT).as_posix() for path in folders]


def test_data_files_hold_every_launch_and_config_file(distribution):
    installed = dict(distribution["data_files"])

    for folder in ("launch", "config", "config/paper", "config/joint_maps"):
        there = {path.as_posix() for path in Path(folder).iterdir() if path.is_file()}
        assert there
        assert set(installed[f"share/iospstl_ros/{folder}"]) == there


def test_data_files_exist_and_mark_the_package(distribution):
    installed = dict(distribution["data_files"])

    assert installed["share/ament_index/resource_index/packages"] == ["resource/iospstl_ros"]
    assert all(Path(name).is_file() for names in installed.values() for name in names)


def test_every_folder_with_code_is_a_package():
    folders = {ROOT / top / path.parent for top, path in package_files() if path.suffix == ".py"}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_other_file_is_package_data(distribution):
    data = distribution["package_data"]
    left_out = [
        f"{top}/{path}"
        for top, path in package_files()
        if path.suffix != ".py"
        and not any(fnmatch(path.as_posix(), pattern) for pattern in data.get(top, []) + data[""])
    ]
    assert left_out == []


def test_package_xml_agrees_with_setup(distribution):
    root = ElementTree.parse(ROOT / "package.xml").getroot()

    assert root.get("format") == "3"
    assert root.findtext("name") == distribution["name"]
    assert root.findtext("version") == distribution["version"]
    assert root.findtext("license") == distribution["license"]
    assert root.findtext("export/build_type") == "ament_python"


def declared_dependencies(kind="exec_depend"):
    return [element.text for element in ElementTree.parse(ROOT / "package.xml").iter(kind)]


def parsed_ros_files():
    files = [*(ROOT / "iospstl_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    return [ast.parse(path.read_text(encoding="utf-8")) for path in files]


def imported_at_once(tree):
    """Packages that importing a module needs, whatever is used of it later."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def imported_where_installed(tree):
    """Packages that the node asks for by name, and does without where they are missing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "optional_messages":
            yield node.args[0].value.partition(".")[0]


def test_package_xml_names_every_module_that_is_imported():
    keys = {"numpy": "python3-numpy", "yaml": "python3-yaml"}
    imported = {
        keys.get(name, name) for tree in parsed_ros_files() for name in imported_at_once(tree)
    }
    others = {*PACKAGES, *sys.stdlib_module_names}
    assert imported - others - {*declared_dependencies()} == set()


def test_package_xml_names_what_the_node_can_do_without():
    names = {name for tree in parsed_ros_files() for name in imported_where_installed(tree)}
    assert names >= {"std_srvs", "vision_msgs"}
    assert names - {*declared_dependencies()} == set()


def test_package_xml_names_nothing_twice():
    names = declared_dependencies()
    assert sorted(set(names)) == sorted(names)


def test_console_scripts_name_functions_that_exist(distribution):
    for script in distribution["entry_points"]["console_scripts"]:
        module, _, function = script.partition(" = ")[2].partition(":")
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        names = {
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        assert function in names, script


def node_commands():
    return sorted(path.name for path in (ROOT / "scripts").iterdir())


def test_every_node_has_a_command_that_ros2_run_finds(distribution):
    scripts = [script.split(" = ") for script in distribution["entry_points"]["console_scripts"]]
    nodes = sorted(name for name, target in scripts if target.startswith("iospstl_ros."))
    assert nodes == node_commands()


@pytest.mark.parametrize("command", ["install", "develop"])
def test_colcon_installs_the_commands_themselves_and_nothing_over_them(run_setup, command):
    # setup.cfg names that folder: links to scripts/ would take the place of the commands there.
    by_pip = dict(run_setup("bdist_wheel")["data_files"])
    by_colcon = dict(run_setup(command)["data_files"])

    assert set(by_pip) - set(by_colcon) == {"lib/iospstl_ros"}
    assert set(by_colcon) <= set(by_pip)


@pytest.mark.parametrize("name", node_commands())
def test_command_of_a_node_starts_the_one_that_pip_made(name, tmp_path):
    texts = {
        f"lib/iospstl_ros/{name}": (ROOT / "scripts" / name).read_text(),
        f"bin/{name}": '#!/bin/sh\necho by pip "$@"\n',
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    command = [tmp_path / "lib/iospstl_ros" / name, "two words", "3"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "by pip two words 3\n"


@pytest.mark.parametrize("name", node_commands())
def test_command_of_a_node_is_executable(name):
    assert os.access(ROOT / "scripts" / name, os.X_OK)


def test_image_holds_what_package_xml_names():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    packages = {name.replace("-", "_") for name in re.findall(r"ros-jazzy-(\S+) ", text)}
    (start,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    base = re.findall(r"^FROM (\S+)", text, re.MULTILINE)[0]

    assert base == "ros:jazzy-ros-base"
    assert packages == {"vision_msgs"} < {*declared_dependencies()}
    assert all((ROOT / path).exists() for path in copied)
    assert (ROOT / "launch" / json.loads(start)[3]).is_file()
    assert re.search(r"^USER robot$", text, re.MULTILINE)


def test_entrypoint_of_the_image_finds_ros_and_the_recognizer(tmp_path):
    path = ROOT / "docker" / "entrypoint"
    assert os.access(path, os.X_OK)
    script = path.read_text().replace("/opt/ros", str(tmp_path))
    (tmp_path / "jazzy").mkdir()
    ros = 'export AMENT_PREFIX_PATH=/ros PATH="/ros/bin:$PATH"; test "$*" = --\n'
    (tmp_path / "jazzy" / "setup.bash").write_text(ros)
    environment = {"ROS_DISTRO": "jazzy", "VIRTUAL_ENV": "/venv", "PATH": os.environ["PATH"]}
    show = 'printf "%s\\n" "$AMENT_PREFIX_PATH" "${PATH%%:/ros/bin*}" "$@"'

    done = subprocess.run(
        ["bash", "-c", script, "entrypoint", "bash", "-c", show, "shell", "two words", "a:=b"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["/venv:/ros", "/venv/bin", "two words", "a:=b"]
