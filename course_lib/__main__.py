"""The `course` command: build and publish lessons, train and sample the shipped models, track progress."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from course_lib.teaching.classroom import command as classroom
from course_lib.teaching.minute import command as minute


def for_each(lessons: Sequence[str], do: Callable[[Path], Any]) -> None:
    """Calls `do(source)` for each of these lessons, or for all where none is named.

    Raises KeyboardInterrupt, with the lesson that was not written, on Ctrl-C.
    """
    from course_lib.teaching.publish.build import sources

    for k, source in enumerate(sources(lessons)):
        try:
            do(source)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped by hand: nothing was written" + f" of {source.stem}" * (k > 0)) from None


def demo(args) -> None:
    run(argparse.Namespace(lessons=["00"], time=args.time))


def build(args) -> None:
    from course_lib.files import NOTEBOOKS, ROOT, must_be_checkout, write_atomically
    from course_lib.teaching.publish import glossary
    from course_lib.teaching.publish.build import build, refill, sources
    from course_lib.teaching.publish.claim_table import in_readme, page

    must_be_checkout("course build")
    for_each(args.lessons, build)
    stored = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    refill()
    write_atomically(NOTEBOOKS / "CLAIMS.md", page(stored))
    write_atomically(NOTEBOOKS / "GLOSSARY.md", glossary.page(sources()))
    write_atomically(ROOT / "README.md", in_readme((ROOT / "README.md").read_text(encoding="utf-8"), stored))


def run(args) -> None:
    from course_lib.teaching.publish.run import run

    if args.time is not None:
        os.environ["COURSE_TIME"] = str(args.time)  # for the kernels, which are started with it
    for_each(args.lessons, run)


def export(args) -> None:
    if args.to:
        return export_model(args)
    from course_lib.teaching.publish.export import export

    for_each(args.lessons, export)


def export_model(args) -> None:
    kind, folder = args.to
    if kind != "diffusers" or len(args.lessons) != 1:
        raise ValueError("--to takes one model and the word diffusers: course export digits --to diffusers FOLDER")
    from course_lib.zoo.diffusers import NO_DIFFUSERS

    try:
        from course_lib.zoo.export import to_diffusers
    except ImportError:
        raise ValueError(NO_DIFFUSERS) from None
    print(to_diffusers(args.lessons[0], folder))


def pictures(args) -> None:
    from course_lib.files import must_be_checkout
    from course_lib.teaching.publish.pictures import draw

    must_be_checkout("course pictures")
    print(*draw(), sep="\n")


def train(args) -> None:
    from course_lib import parallel
    from course_lib.files import must_be_checkout, write_atomically
    from course_lib.training import pick_device
    from course_lib.zoo import checkpoints
    from course_lib.zoo import models as shipped
    from course_lib.zoo.remake import compared, table

    if args.replace and (args.all or args.out):
        raise ValueError("--replace must be given without --all and --out: it puts one model in the shipped one's place")
    if args.replace:
        must_be_checkout("course train --replace")
    device = pick_device(args.device)
    with parallel.process_group(device):
        if args.all:
            return train_all(args, device)
        out = args.out or checkpoints.shipped(args.name, shipped.BUILD)
        record = shipped.make(args.name, seed=args.seed, device=device, seconds=args.seconds, out=out)
        if parallel.rank() > 0:
            return
        if args.replace:
            place = checkpoints.shipped(args.name)
            old = checkpoints.read(place)[1] if place.is_file() else None
            print(table(compared(args.name, old, record)), flush=True)
            write_atomically(place, out.read_bytes())
            out = place
        print(f"{args.name} is in {out}")
        print(json.dumps(record["figures"]))


def train_all(args, device) -> None:
    from course_lib.zoo.models import BUILD
    from course_lib.zoo.remake import remake, summary, table

    rows = []
    try:
        for row in remake(args.out or BUILD, args.seed, device, args.seconds):
            rows.append(row)
    finally:
        if rows:
            print(f"{table(rows)}\n\n{summary(rows)}")
    if out := sum(not row.within for row in rows):
        raise RuntimeError(f"{out} of {len(rows)} figures are farther from the shipped ones than they may be")


def models(args) -> None:
    from course_lib.zoo import models as shipped

    records = shipped.records()
    if args.json:
        print(json.dumps(records, indent=1, sort_keys=True))
        return
    for name, record in records.items():
        made = f"not made yet: course train {name} --replace"
        if record:
            seconds = record["processor_seconds"]
            spent = "not timed" if seconds is None else f"{seconds:.0f} s of one processor core"
            made = f"{record['steps']:,} steps, {spent}" + (f", on {record['device']}" if record["device"] != "cpu" else "")
        print(f"{name:12} {shipped.RECIPES[name].about}\n{'':12} {made}")
        for figure, value in (record or {}).get("figures", {}).items():
            print(f"{'':12} {figure}: {'not measured' if value is None else f'{value:.4g}'}")
    hours = sum(record["processor_seconds"] or 0 for record in records.values() if record) / 3600
    print(
        f"\n{len(records)} models, {hours:.1f} hours of one core in all: course train --all makes them anew, in another folder"
    )


def sample(args) -> None:
    from course_lib.files import must_be_writable
    from course_lib.zoo import models as shipped

    args.folder = args.folder or shipped.FOLDER

    if args.out.suffix.lower() not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, got {args.out}")
    must_be_writable(args.out)
    x, label = shipped.sample(
        args.name, args.label, args.n, args.w, args.steps, args.sampler, args.seed, args.caption, args.folder, args.device
    )
    shipped.write_samples(args.out, x, label)
    print(f"{len(x)} samples of {args.name} in {args.out}")


def claims(args) -> None:
    from course_lib.teaching.publish.build import rebuilt
    from course_lib.teaching.publish.claim_table import gather, table

    found = list(gather(rebuilt(args.lessons)))
    print(json.dumps([vars(c) for c in found], indent=1) if args.json else table(found))


def start(args) -> None:
    from course_lib.teaching.progress import start

    print(f"your copy: {start(args.lesson)}")


def lab(args) -> None:
    import importlib.util
    import subprocess

    from course_lib.teaching.progress import start

    if not importlib.util.find_spec("jupyterlab"):
        raise RuntimeError('JupyterLab must be installed: pip install "diffusion-course[lab]"')
    if getattr(os, "geteuid", lambda: 1)() == 0 and not args.allow_root:
        raise RuntimeError(
            "JupyterLab refuses to run as root: run course lab as another user, or with --allow-root in a container"
        )
    options = ["--allow-root"] if args.allow_root else []
    subprocess.run([sys.executable, "-m", "jupyterlab", str(start(args.lesson)), *options], check=False)


def doctor(args) -> None:
    from course_lib.teaching.environment import doctor

    report, well = doctor()
    print(report)
    if not well:
        raise RuntimeError("what is marked NO must be put right")


def progress(args) -> None:
    from course_lib.teaching.progress import progress

    print(progress())


def quiz(args) -> None:
    from course_lib.files import write_atomically
    from course_lib.teaching.publish import quiz_page
    from course_lib.teaching.quiz import quiz

    questions, title = quiz(args.lesson, args.seed, args.n), quiz_page.title(args.lesson, args.seed)
    for path, write in ((args.html, quiz_page.page), (args.pdf, quiz_page.pdf)):
        if path:
            print(f"{len(questions)} questions in {write_atomically(path, write(questions, title))}")
    if args.answers or not (args.html or args.pdf):
        print(f"{title}\n\n{quiz_page.text(questions, args.answers)}")


def present(args) -> None:
    import webbrowser

    from course_lib.teaching.publish.present import present

    def show(source: Path) -> None:
        path = present(source)
        print(f"open {path}")
        if not args.quiet:
            webbrowser.open(path.resolve().as_uri())

    for_each([args.lesson], show)


def site(args) -> None:
    from course_lib.teaching.publish.site import site

    print(f"open {site(args.out) if args.out else site()}")


def publish(args) -> None:
    from course_lib.files import must_be_checkout
    from course_lib.teaching.publish.address import publish, read

    must_be_checkout("course publish")
    print(*[f"rewrote {path}" for path in publish(args.repository)] or ["nothing to change"], sep="\n")
    print(f"for a class on a JupyterHub with nbgitpuller: {read().hub('00_start_here')}")


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command for each function above, with its help."""
    top = argparse.ArgumentParser(prog="course", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(run, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(run.__name__, help=help, description=help)
        made.set_defaults(run=run)
        return made

    slow = command(demo, "run lesson 00 from its first cell to its last and write it as a web page in build/")

    for run_, help in (
        (build, "execute the sources of lessons; store the notebooks, CLAIMS.md, GLOSSARY.md and the README's claims"),
        (run, "execute lessons without storing them, show the progress, and write their pages into build/"),
        (export, "write the stored notebooks' pages into build/, or a shipped model as a folder for another library"),
    ):
        sub = command(run_, help)
        sub.add_argument("lessons", nargs="*", metavar="NN", help="lesson numbers; default: all")
        if run_ is export:
            sub.add_argument("--to", nargs=2, metavar=("diffusers", "FOLDER"), help="with the name of one model")
        for each in (sub, slow) if run_ is run else ():
            each.add_argument("--time", type=float, help="give trainings this many times their seconds, on a slow machine")
    command(pictures, "sample the README's pictures from the shipped models")

    sub = command(start, "copy a lesson into my/, where no update overwrites it; an existing copy stays as it is")
    sub.add_argument("lesson", metavar="NN")

    sub = command(lab, "open your copy of a lesson in JupyterLab")
    sub.add_argument("lesson", metavar="NN", nargs="?", default="00", help="default: 00")
    sub.add_argument("--allow-root", action="store_true", help="for a container, in which you are root")

    command(doctor, "print what an issue should say: versions, device, and whether data and models are as they were shipped")

    command(progress, "list the exercises of each lesson, and which have passed their checks")

    device = "auto (CUDA, else MPS, else CPU), cpu, cuda, mps; default auto"
    sub = command(train, "train a shipped model by its recipe, into build/checkpoints; Ctrl-C stores the weights reached")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="a recipe's name, as `course models` lists them")
    which.add_argument(
        "--all", action="store_true", help="train every model into a folder, resume after a stop, and compare the figures"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto", help=device)
    sub.add_argument("--seconds", type=float, default=None, help="limit of each training; default: the recipe's own")
    sub.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="PLACE",
        help="a file NAME.safetensors, or a folder with --all; default: in build/checkpoints",
    )
    sub.add_argument(
        "--replace", action="store_true", help="print old and new figures, and put the model in the shipped one's place"
    )

    sub = command(models, "list the shipped models with their figures")
    sub.add_argument("--json", action="store_true", help="the whole records, as JSON")

    sub = command(sample, "sample a shipped model into a picture or an array")
    sub.add_argument("name", metavar="NAME", help="a model's name, as `course models` lists them")
    sub.add_argument("--label", type=int, default=None, help="the class; default: all classes in turn")
    sub.add_argument(
        "--caption", action="append", default=[], metavar="TEXT", help="for a model of captions; repeat it for several, in turn"
    )
    sub.add_argument("-n", type=int, default=16, help="how many; default 16")
    sub.add_argument(
        "--w", type=float, default=2.0, help="guidance: 0 ignores the class, 1 is no guidance, more extrapolates; default 2"
    )
    sub.add_argument("--steps", type=int, default=None, help="denoising steps; default: the model's own, 25 for most")
    sub.add_argument("--sampler", default=None, help="such as ddpm; default: the model's own, ddim for most")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto", help=device)
    sub.add_argument("--folder", type=Path, default=None, help="where the model is; default: the shipped ones")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.png|FILE.npz", help="npz holds x in [-1, 1] and label")

    sub = command(claims, "execute the notebooks and print every claim with its measured figure")
    sub.add_argument("lessons", nargs="*", metavar="NN", help="lesson numbers; default: all")
    sub.add_argument("--json", action="store_true")

    sub = command(
        quiz, "ask questions about a lesson: what was measured, what is wrong in a function, what shows a claim to fail"
    )
    sub.add_argument("lesson", metavar="NN")
    sub.add_argument("--seed", type=int, default=0, help="another seed, other questions; default 0")
    sub.add_argument("--n", type=int, default=None, help="how many; default 10, or all where there are fewer")
    sub.add_argument("--answers", action="store_true", help="print the answers, too")
    sub.add_argument("--html", type=Path, default=None, metavar="FILE", help="write a page with folded answers")
    sub.add_argument("--pdf", type=Path, default=None, metavar="FILE", help="write two pages, the answers on the second")

    sub = command(present, "open a lesson as slides with live widgets: large type, a clock, stops for the sliders")
    sub.add_argument("lesson", metavar="NN")
    sub.add_argument("--quiet", action="store_true", help="write the page only")

    sub = command(site, "write every lesson, a search, the library's pages and a playground as a static site")
    sub.add_argument("--out", type=Path, default=None, metavar="NOTEBOOKS", help="default: build/site")

    sub = command(publish, "point the badges and notebooks to another repository, such as your fork")
    sub.add_argument("repository", metavar="OWNER/REPO")

    classroom.add_to(commands)
    minute.add_to(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """The exit code of one command: 0 done; 1 failed, with one line on stderr; 2 not understood; 130 stopped by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal, and not every file on Windows, has an ε
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, TypeError, OSError, AssertionError, RuntimeError) as error:
        print(f"course: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"course: {str(error) or 'stopped by hand'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
