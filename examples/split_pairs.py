"""Split pairs of noisy and clean images into those to train on and those to measure on, by groups that belong together.

Pages that were scanned several times must not be on both sides: a network would know them by heart.

python examples/split_pairs.py documents/noisy documents/clean documents/page_groups.json pages
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from dae_runtime import DaeError
from dae_runtime.images import find_images


def main() -> None:
    """Copy each pair to OUT/train or OUT/test, below `noisy` and `clean`, and write the groups of each beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("groups", type=Path, help="JSON: a list of lists of file names without their suffix")
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=6, help="set aside one of so many groups [default: 6]")
    options = parser.parse_args()
    groups = json.loads(options.groups.read_text("utf-8"))
    test = groups[options.every // 2 - 1 :: options.every]
    parts = {"train": [group for group in groups if group not in test], "test": test}
    part_of = {str(name): part for part, members in parts.items() for group in members for name in group}
    for path in find_images(options.noisy):
        if path.stem not in part_of:
            parser.error(f"{path} is in no group of {options.groups}; expected every image in one")
        for kind, source in (("noisy", path), ("clean", options.clean / path.name)):
            target = options.out / part_of[path.stem] / kind / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for part, members in parts.items():
        (options.out / part / "groups.json").write_text(json.dumps(members), "utf-8")


if __name__ == "__main__":
    try:
        main()
    except (DaeError, OSError, ValueError) as error:  # a wrong path, or no JSON
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
