"""`course class`: what an instructor calls."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def edition(args) -> None:
    from course_lib.teaching.classroom.edition import edition

    for path, what in edition(args.out, args.lessons, args.due, args.outputs, args.answers):
        print(f"{what} {path}")


def collect(args) -> None:
    import os
    import secrets

    if not hasattr(os, "fork"):
        raise RuntimeError("course class collect must be run where processes can be copied: Linux, WSL or a container")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # submissions run on the processor, one copy of this process each
    from course_lib import validate
    from course_lib.files import must_be_writable, write_atomically
    from course_lib.teaching.classroom import collect, grades, roster, sandbox
    from course_lib.teaching.classroom.exercises import exercises

    validate.positive("seconds", args.seconds)
    submitted, wanted = roster.handed_in(args.folder), exercises(args.lessons)
    listed = roster.read(args.roster) if args.roster else []
    notebooks, students = roster.matched(submitted, listed)
    if listed and args.format != "plain" and (others := [s.name for s in students[len(listed) :]]):
        students = students[: len(listed)]
        print(f"not in the table, since not in the roster: {', '.join(map(repr, others))}", file=sys.stderr)
    grades.table(students, {}, [], args.format)
    must_be_writable(args.csv)
    way, limits = sandbox.safest(), sandbox.Limits(args.seconds)
    if way == "limits" and not args.unprotected:
        said = sandbox.why_not("user namespaces")
        raise RuntimeError(f"submissions cannot be shut in here ({said}): use a container or another machine, or --unprotected")
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    print(f"shut in by {way}: {sandbox.WAYS[way]}", limits, f"data drawn with --seed {seed}", sep="\n", file=sys.stderr)
    rows = {}
    for row in collect.collect(notebooks, wanted, seed, limits, args.folder.resolve()):
        rows[row.key] = row
        print(f"{len(rows)}/{len(notebooks)} {row.points:3d} points  {row.key!r}", file=sys.stderr, flush=True)
    kept = [
        e
        for e in wanted
        if args.lessons or any(m.state != "not handed in" for r in rows.values() for m in r.marks if m.exercise == e)
    ]
    rows = {key: collect.Row(key, [m for m in row.marks if m.exercise in kept], row.notes) for key, row in rows.items()}
    print(f"{len(students)} students in {write_atomically(args.csv, grades.table(students, rows, kept, args.format))}")
    if args.html:
        print(f"{len(grades.pages(students, rows, args.html))} pages in {args.html}")


def export(args) -> None:
    from course_lib.teaching.classroom.export import export

    print(*export(*args.to, args.lessons), sep="\n")


def exam(args) -> None:
    from course_lib.teaching.classroom.exam import exam

    print(*exam(args.lessons, args.versions, args.pdf, args.n, args.seed), sep="\n")


def add_to(commands) -> None:
    """Adds `class` with its sub-commands to those of the command line."""
    help = "hand out lessons to a class, judge what is handed in, write files for graders, and exams"
    top = commands.add_parser("class", help=help, description=help).add_subparsers(metavar="COMMAND", required=True)

    def command(run, help: str) -> argparse.ArgumentParser:
        made = top.add_parser(run.__name__, help=help, description=help)
        made.set_defaults(run=run)
        made.add_argument("--lessons", default=None, metavar="NN-NN", help="such as 00-08,14; default: all")
        return made

    sub = command(edition, "write the students' notebooks, without answers, and the instructor's, with them")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--due", default=None, metavar="DATE", help="stands in the first cell, such as 2027-01-31")
    sub.add_argument("--outputs", choices=("keep", "clear"), default="clear", help="of the students' notebooks; default clear")
    sub.add_argument(
        "--answers", default="from your instructor, after the due date", metavar="TEXT", help="where these will be"
    )

    sub = command(collect, "judge the notebooks in a folder by the checks, each shut in, and write points and mistakes")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="with a folder, or a notebook, of each student")
    sub.add_argument("--csv", type=Path, required=True, metavar="FILE")
    sub.add_argument(
        "--format", choices=("plain", "canvas", "moodle"), default="plain", help="the table's columns; default plain"
    )
    sub.add_argument("--roster", type=Path, default=None, metavar="FILE", help="CSV with id and name, or an export of grades")
    sub.add_argument("--html", type=Path, default=None, metavar="DIR", help="write a page for each student")
    sub.add_argument("--seconds", type=float, default=10.0, help="of processor time for each function; default 10")
    sub.add_argument("--seed", type=int, default=None, help="draw the data as in an earlier collection; default: anew")
    sub.add_argument("--unprotected", action="store_true", help="even where the system can shut nothing in")

    sub = command(export, "write lessons as assignments of another grader, with its tests and points")
    sub.add_argument("--to", nargs=2, required=True, metavar=("nbgrader|otter", "DIR"))

    sub = command(exam, "write versions of an exam about lessons, and the key of each apart")
    sub.add_argument("--versions", type=int, default=2, help="how many; default 2")
    sub.add_argument("--pdf", type=Path, required=True, metavar="DIR")
    sub.add_argument("--n", type=int, default=10, help="questions; default 10")
    sub.add_argument("--seed", type=int, default=0, help="another seed, other questions; default 0")
