"""Types of settings with a range; what is outside is refused when a configuration is read."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
NotNegative = Annotated[float, Ge(0)]
AboveZero = Annotated[float, Gt(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
