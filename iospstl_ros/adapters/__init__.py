"""Sources of skeletons: one module a driver, none of which needs the driver's package."""

from __future__ import annotations

from iospstl_core.errors import InputError
from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.custom import make_custom
from iospstl_ros.adapters.hiros import make_hiros
from iospstl_ros.adapters.k4a_markers import make_k4a_markers
from iospstl_ros.adapters.nuitrack import make_nuitrack
from iospstl_ros.adapters.pointcloud import make_pointcloud
from iospstl_ros.adapters.ros4hri import make_ros4hri
from iospstl_ros.adapters.yolo import make_yolo
from iospstl_ros.adapters.zed import make_zed

MAKERS = {
    "pointcloud": make_pointcloud,
    "k4a_markers": make_k4a_markers,
    "zed": make_zed,
    "yolo": make_yolo,
    "hiros": make_hiros,
    "ros4hri": make_ros4hri,
    "nuitrack": make_nuitrack,
    "custom": make_custom,
}


def make_adapter(settings: AdapterSettings) -> Adapter:
    """Return the adapter that settings name; raise InputError listing the known ones."""
    if settings.adapter not in MAKERS:
        raise InputError(f"adapter: expected one of {', '.join(MAKERS)}, got '{settings.adapter}'")
    return MAKERS[settings.adapter](settings)
