"""Plain-Python visibility: one joint and one triangle at a time (Moller and Trumbore, 1997)."""

from __future__ import annotations

from collections.abc import Sequence

Vector = Sequence[float]

PARALLEL = 1e-12


def is_hidden(joint: Vector, triangles: Sequence[Sequence[Vector]]) -> bool:
    """Tell whether a triangle meets the segment from the camera at the origin to the joint."""
    return any(meets_segment(joint, triangle) for triangle in triangles)


def meets_segment(end: Vector, triangle: Sequence[Vector]) -> bool:
    """Tell whether the segment from the origin to `end` crosses a triangle, from either side."""
    corner, second, third = triangle
    edge_1, edge_2 = subtract(second, corner), subtract(third, corner)
    across = cross(end, edge_2)
    determinant = dot(edge_1, across)
    if abs(determinant) < PARALLEL:
        return False
    start = subtract((0.0, 0.0, 0.0), corner)
    u = dot(start, across) / determinant
    turned = cross(start, edge_1)
    v = dot(end, turned) / determinant
    share = dot(edge_2, turned) / determinant  # of the segment, at the crossing
    return u >= 0 and v >= 0 and u + v <= 1 and 0 < share < 1


def subtract(a: Vector, b: Vector) -> Vector:
    return [a[0] - b[0], a[1] - b[1], a[2] - b[2]]


def dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
