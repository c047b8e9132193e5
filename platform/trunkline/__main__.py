"""`python -m trunkline`. `--encoded WORD` holds all arguments in one word: how a cluster's shells can not change them."""

from __future__ import annotations

import sys

from trunkline.cli.app import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["--encoded"]:
        from trunkline.clusters.job import decode

        sys.exit(main(decode(sys.argv[2])))
    sys.exit(main())
