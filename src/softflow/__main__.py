"""`python -m softflow`, the same as `softflow`."""

import sys

from softflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
