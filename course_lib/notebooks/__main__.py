"""python -m course_lib.notebooks build [NN ...] | run [NN] | export [NN ...] | publish OWNER/REPO"""

from __future__ import annotations

import argparse
import sys

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError


def main(argv: list[str] | None = None) -> int:
    """Runs one of the commands; 0 where all went well, 1 with a line on stderr where not, 130 where stopped by hand."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.notebooks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="execute the sources and store the notebooks")
    make.add_argument("numbers", nargs="*", metavar="NN", help="the lessons' numbers; all where none is given")
    args = parser.parse_args(argv)
    try:
        from course_lib.notebooks.build import build, sources

        for source in sources(args.numbers):
            build(source)
    except CellExecutionError as error:
        print(f"{error}\nA cell raised: nothing was written.", file=sys.stderr)
        return 1
    except (CellTimeoutError, DeadKernelError, ValueError, OSError) as error:
        print(f"{args.command}: {error}".splitlines()[0], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
