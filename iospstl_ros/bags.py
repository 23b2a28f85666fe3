"""ROS 2 bags without ROS: both storages, read and written with the library `rosbags`."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iospstl_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

STORAGES = ("mcap", "sqlite3")

_VERSION = 8  # of the metadata: the newest that Humble reads too
_UNKNOWN_HASH = "RIHS01_" + "0" * 64


class Bag:
    """A recording that is open for reading.

    Attributes
    ----------
    path : Path
    connections : sequence of rosbags.interfaces.Connection
        Topics and their types; a topic with two types has two.
    n_messages : int
    start_ns, duration_s : int and float
        Of the times of reception.
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self.path = path
        self._reader = reader
        self.connections: Sequence[Connection] = tuple(reader.connections)
        self.n_messages: int = reader.message_count
        self.start_ns: int = reader.start_time
        self.duration_s: float = reader.duration * 1e-9

    @property
    def storage(self) -> str:
        """One of `STORAGES`."""
        files = self.path.iterdir() if self.path.is_dir() else (self.path,)
        return "mcap" if any(".mcap" in file.suffixes for file in files) else "sqlite3"

    def messages(
        self, connections: Sequence[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time of reception (ns) and serialized message, in time order.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        with _reading(self.path):
            yield from self._reader.messages(connections)

    def describe(self) -> str:
        """Return topics and types, for messages to the user."""
        return ", ".join(f"{item.topic} ({item.msgtype})" for item in self.connections) or "none"

    def decoder(self, connection: Connection) -> Callable[[bytes], Any]:
        """Return what turns serialized messages of a connection into objects with ROS's fields.

        Raises
        ------
        InputError
            If neither the bag nor the standard messages define the type. What is returned raises
            it for a message that is damaged.
        """
        store = _find_types(connection)
        if store is None:
            raise InputError(
                f"{self.path}: {connection.topic} holds {connection.msgtype}, which the bag does "
                "not define; record it as MCAP, or with ROS 2 Jazzy or newer, which store the "
                "definitions; `ros2 bag convert` adds them where the package is installed"
            )

        def decode(raw: bytes) -> Any:
            try:
                return store.deserialize_cdr(raw, connection.msgtype)
            except Exception as error:
                raise InputError(f"{connection.topic}: damaged message: {error}") from error

        return decode


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag: a folder with ``metadata.yaml``, or one ``.mcap`` or ``.db3`` file.

    Raises
    ------
    InputError
        If it is no bag of ROS 2 or a damaged one, or the library `rosbags` is missing.
    """
    library = _library("rosbag2")
    if not path.exists():
        raise InputError(f"{path}: expected a bag, found nothing there")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise InputError(
            f"{path}: expected a bag, got a folder without metadata.yaml; `ros2 bag reindex` "
            "writes it, or name the .mcap or .db3 file itself"
        )
    if path.is_file() and path.suffix not in (".mcap", ".db3"):
        hint = "; `rosbags-convert` turns bags of ROS 1 into some" if path.suffix == ".bag" else ""
        raise InputError(f"{path}: expected a folder, an .mcap or a .db3 file{hint}")
    with _reading(path):
        reader = library.Reader(path)
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


class NewBag:
    """A recording that is being written; made by `new_bag`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def copy_connection(self, connection: Connection) -> Any:
        """Add the topic of another bag with its definition and QoS; return what `write` takes."""
        store = _find_types(connection)
        text, digest = connection.msgdef.data, connection.digest
        if store is not None:
            text = text or store.generate_msgdef(connection.msgtype, ros_version=2)[0]
            digest = digest or store.hash_rihs01(connection.msgtype)
        ext: Any = connection.ext
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=text,
            rihs01=digest or _UNKNOWN_HASH,
            serialization_format=ext.serialization_format,
            offered_qos_profiles=ext.offered_qos_profiles,
        )

    def add_topic(self, topic: str, message_type: str, store: Any) -> Callable[[int, Any], None]:
        """Add a topic; return what writes a message object of a type store at a time (ns)."""
        added = self._writer.add_connection(topic, message_type, typestore=store)

        def write(stamp_ns: int, message: Any) -> None:
            self._writer.write(added, stamp_ns, store.serialize_cdr(message, message_type))

        return write

    def write(self, connection: Any, stamp_ns: int, raw: bytes) -> None:
        """Write a serialized message."""
        self._writer.write(connection, stamp_ns, raw)


@contextmanager
def new_bag(path: Path, storage: str) -> Iterator[NewBag]:
    """Write a bag, a folder, that appears under its name only when it is complete.

    Raises
    ------
    InputError
        If there is something at `path`, or the library `rosbags` is missing.
    """
    library = _library("rosbag2")
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    plugin = library.StoragePlugin[storage.upper()]
    try:
        with library.Writer(
            partial / path.name, version=_VERSION, storage_plugin=plugin
        ) as writer:
            yield NewBag(writer)
        (partial / path.name).rename(path)
    except sqlite3.Error as error:  # a full disk
        raise OSError(f"{path}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Raise InputError if there is something where a bag is to be written."""
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name or take it away")


def standard_types() -> Any:
    """Return a `rosbags` type store of ROS 2's own messages."""
    typesys = _library("typesys")
    return typesys.get_typestore(typesys.Stores.ROS2_JAZZY)


def _find_types(connection: Connection) -> Any:
    """Return a type store that knows the connection's type, or None."""
    typesys = _library("typesys")
    if not connection.msgdef.data:
        standard = standard_types()
        return standard if connection.msgtype in standard.types else None
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    try:
        store.register(_parse(typesys, connection))
        store.get_msgdef(connection.msgtype)
    except Exception:  # a definition that cannot be read is as good as none
        return None
    return store


def _parse(typesys: Any, connection: Connection) -> Any:
    """Return the types that the bag's text defines, ``.msg`` or IDL."""
    text = connection.msgdef.data
    if connection.msgdef.format.name == "MSG":
        return typesys.get_types_from_msg(text, connection.msgtype)
    types: dict[str, Any] = {}
    for part in text.split("=" * 80 + "\n"):
        body = part.partition("\n")[2] if part.startswith("IDL: ") else part
        if body.strip():
            types |= typesys.get_types_from_idl(body)
    return types


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever the library raises over a damaged file into one sentence."""
    try:
        yield
    except Exception as error:
        text = str(error) or type(error).__name__
        raise InputError(
            f"{path}: not a complete bag of ROS 2: {text.rstrip('.')}; of a recording that broke "
            "off, `mcap recover` or `ros2 bag reindex` may save what is there"
        ) from error


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"rosbags.{module}")
    except ModuleNotFoundError as error:
        raise InputError(
            f"bags: need the package '{error.name}'; install it with: "
            "pip install 'iospstl_ros[bags]'"
        ) from error
