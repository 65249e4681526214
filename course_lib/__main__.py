"""The `course` command: run the demo, remake and use the shipped models, gather the claims, publish a fork."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def demo(args) -> None:
    from course_lib.notebooks.run import demo

    demo()


def train(args) -> None:
    from course_lib import models as shipped
    from course_lib import parallel

    with parallel.joined():
        if args.all:
            return train_all(args)
        record = shipped.make(args.name, seed=args.seed, device=args.device, seconds=args.seconds, out=args.out)
        if parallel.rank() == 0:
            print(json.dumps(record["figures"]))


def train_all(args) -> None:
    from course_lib.notebooks import ROOT
    from course_lib.remake import remake, summary, table

    rows = []
    try:
        for row in remake(args.out or ROOT / "build/checkpoints", args.seed, args.device, args.seconds):
            rows.append(row)
    finally:
        if rows:
            print(f"{table(rows)}\n\n{summary(rows)}")
    if out := sum(not row.within for row in rows):
        raise RuntimeError(f"{out} of {len(rows)} figures are farther from the shipped ones than they may be")


def models(args) -> None:
    from course_lib import models as shipped

    records = shipped.records()
    if args.json:
        print(json.dumps(records, indent=1, sort_keys=True))
        return
    for name, record in records.items():
        made = f"{record['seconds']:.0f} s on {record['device']}" if record else "not made yet: course train " + name
        print(f"{name:12} {shipped.RECIPES[name].about}\n{'':12} {made}")
        for figure, value in (record or {}).get("figures", {}).items():
            print(f"{'':12} {figure}: {value:.4g}")
    seconds = sum(record["seconds"] for record in records.values() if record)
    print(f"\n{len(records)} models, {seconds / 3600:.1f} hours in all: course train --all makes them anew, in another folder")


def sample(args) -> None:
    from course_lib import models as shipped

    if args.out.suffix not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, got {args.out}")
    x, label = shipped.sample(args.name, args.label, args.n, args.w, args.steps, args.sampler, args.seed)
    shipped.write_samples(args.out, x, label)
    print(f"{len(x)} samples of {args.name} in {args.out}")


def claims(args) -> None:
    from course_lib.claims import gather, table
    from course_lib.notebooks.build import fresh

    found = list(gather(fresh(args.lessons)))
    print(json.dumps([vars(c) for c in found], indent=1, ensure_ascii=False) if args.json else table(found))


def start(args) -> None:
    from course_lib.progress import start

    print(f"your copy: {start(args.lesson)}")


def progress(args) -> None:
    from course_lib.progress import progress

    print(progress())


def present(args) -> None:
    import webbrowser

    from course_lib.notebooks.build import sources
    from course_lib.notebooks.present import present

    path = present(sources([args.lesson])[0])
    print(f"open {path}")
    if not args.quiet:
        webbrowser.open(path.resolve().as_uri())


def site(args) -> None:
    from course_lib.notebooks.site import site

    print(f"open {site(args.out) if args.out else site()}")


def publish(args) -> None:
    from course_lib.notebooks.address import publish

    for path in publish(args.repository):
        print(f"rewrote {path}")


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command for each thing to do, each with its help."""
    top = argparse.ArgumentParser(prog="course", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(run, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(run.__name__, help=help, description=help)
        made.set_defaults(run=run)
        return made

    command(demo, "run lesson 00 from its first cell to its last and write it as a web page in build/")

    sub = command(start, "copy a lesson into my/, where no update overwrites it; a copy that is there stays as it is")
    sub.add_argument("lesson", metavar="NN")

    command(progress, "say which exercises have passed their checks, lesson by lesson")

    sub = command(train, "remake a shipped model from its recipe; Ctrl-C keeps what it learned until then")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="a recipe's name, as `course models` lists them")
    which.add_argument(
        "--all", action="store_true", help="every model in turn, into a folder; goes on where it was stopped, and compares"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, mps; default auto")
    sub.add_argument("--seconds", type=float, default=None, help="at most so many each; default: the recipe's own")
    sub.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="PLACE",
        help="default: the shipped checkpoint's; with --all build/checkpoints",
    )

    sub = command(models, "list the shipped models with their figures")
    sub.add_argument("--json", action="store_true", help="the whole records, as JSON")

    sub = command(sample, "draw samples from a shipped model into a picture or an array")
    sub.add_argument("name", metavar="NAME", help="a model's name, as `course models` lists them")
    sub.add_argument("--label", type=int, default=None, help="the class; default: all classes in turn")
    sub.add_argument("-n", type=int, default=16, help="how many; default 16")
    sub.add_argument("--w", type=float, default=2.0, help="guidance: 0 ignores the class, 1 is plain, more insists; default 2")
    sub.add_argument("--steps", type=int, default=None, help="denoising steps; default: the model's own, 25 for most")
    sub.add_argument("--sampler", default=None, help="ddim, ddpm or consistency; default: the model's own, ddim for most")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.png|FILE.npz", help="npz holds x in [-1, 1] and label")

    sub = command(claims, "run the notebooks and print every claim with its measured figure")
    sub.add_argument("lessons", nargs="*", metavar="NN", help="lesson numbers; default: all")
    sub.add_argument("--json", action="store_true")

    sub = command(present, "show a lesson as slides with live widgets: large type, a clock, stops for the sliders")
    sub.add_argument("lesson", metavar="NN")
    sub.add_argument("--quiet", action="store_true", help="write the page, and open no browser")

    sub = command(site, "write every lesson, a search and a playground as a static site that opens from disk")
    sub.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="default: build/site")

    sub = command(publish, "point badges and notebooks to another repository, such as your fork")
    sub.add_argument("repository", metavar="OWNER/REPO")
    return top


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Exit code 0: done; 1: it could not be done, one line on stderr says why; 2: not understood;
    130: stopped by hand."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, TypeError, OSError, AssertionError, RuntimeError) as error:
        print(f"course: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"course: {error or 'stopped'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
