"""All kinds of occlusion by name: what ``--kind`` and ``--occlusion`` know.

A new kind is a file beside this one that ends with its `Kind`, a line here, and a section of its
settings in `iospstl_train.config.Config`.
"""

from __future__ import annotations

from iospstl_train.occlusion.cells import RANDOM_CELLS
from iospstl_train.occlusion.dropout import DROPOUT
from iospstl_train.occlusion.kind import Kind
from iospstl_train.occlusion.parts import BODY_PARTS
from iospstl_train.occlusion.realistic import REALISTIC
from iospstl_train.occlusion.sensor import SENSOR
from iospstl_train.occlusion.tabletop import TABLETOP
from iospstl_train.occlusion.time_block import TIME_BLOCK

KINDS: dict[str, Kind] = {
    "realistic": REALISTIC,
    "random": RANDOM_CELLS,
    "parts": BODY_PARTS,
    "time": TIME_BLOCK,
    "tabletop": TABLETOP,
    "dropout": DROPOUT,
    "sensor": SENSOR,
}
"""Name, also that of the section of its settings -> kind."""
