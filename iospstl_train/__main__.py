"""``python -m iospstl_train``: the command ``iospstl-train``, also for torchrun."""

import sys

from iospstl_train.cli import main

if __name__ == "__main__":
    sys.exit(main())
