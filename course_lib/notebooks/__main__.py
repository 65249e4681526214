"""Builds, runs, exports and moves the notebooks."""

from __future__ import annotations

import argparse
import sys


def main(argv: list[str] | None = None) -> int:
    """Runs one of the commands; 0 where all went well, 1 with a line on stderr where not, 130 where stopped by hand."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.notebooks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in (
        ("build", "execute the sources and store the notebooks"),
        ("run", "execute without storing, show how it goes, and write the pages into build/"),
        ("export", "write the stored notebooks' pages into build/"),
    ):
        commands.add_parser(name, help=help).add_argument("numbers", nargs="*", metavar="NN", help="which lessons; else all")
    commands.add_parser("site", help="write all stored notebooks as a static site into build/site, with a playground")
    commands.add_parser("pictures", help="draw the README's pictures by the shipped models")
    commands.add_parser("publish", help="move badges and setup cells to another repository").add_argument("owner_repo")
    args = parser.parse_args(argv)
    try:
        return execute(args)
    except KeyboardInterrupt:
        print("\nstopped by hand: nothing was written", file=sys.stderr)
        return 130


def execute(args: argparse.Namespace) -> int:
    """What `main` does, but for Ctrl-C. The imports stand here since they take a second, in which one may press it too."""
    from course_lib.claims import in_readme, page
    from course_lib.notebooks import FOLDER, ROOT, address, build, export, pictures, run, site

    try:
        if args.command == "publish":
            print(*address.publish(args.owner_repo) or ["nothing to change"], sep="\n")
        elif args.command == "pictures":
            print(*pictures.draw(), sep="\n")
        elif args.command == "site":
            print(site.site())
        else:
            for source in build.sources(args.numbers):
                {"build": build.build, "run": run.run, "export": export.export}[args.command](source)
        if args.command == "build":
            stored = sorted(FOLDER.glob("[0-9]*.ipynb"))
            address.write(FOLDER / "CLAIMS.md", page(stored))
            address.write(ROOT / "README.md", in_readme((ROOT / "README.md").read_text(encoding="utf-8"), stored))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
