"""What pip and colcon install: everything that is there, and nothing that is not."""

import ast
import os
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
def distribution(monkeypatch):
    """The arguments that setup.py gives to setuptools; setuptools itself is not needed."""
    given = {}
    setuptools = types.ModuleType("setuptools")
    setuptools.setup = given.update
    setuptools.find_packages = lambda include: include
    setuptools.Distribution = object
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return given


def package_files():
    """Yield package and path inside it of every file that is not left over by a tool."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield package, path.relative_to(ROOT / package)


def test_data_files_hold_every_launch_and_config_file(distribution):
    installed = dict(distribution["data_files"])

    for folder in ("launch", "config"):
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


def test_package_xml_names_every_ros_module_that_is_imported():
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in root.findall("exec_depend")}
    others = {*PACKAGES, "numpy", *sys.stdlib_module_names}
    files = [*(ROOT / "iospstl_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]

    imported = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])

    assert imported - others - declared == set()


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
