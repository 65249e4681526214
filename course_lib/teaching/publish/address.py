"""The repository's address: `[tool.course]` of pyproject.toml holds it, badges and setup cells repeat it, `publish` sets it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from course_lib.files import PYPROJECT, ROOT, write_atomically

SETUP = """\
# Finds the course's library and, in Colab, fetches it first. Run it and read on: there is nothing to change here.
import sys
from importlib.util import find_spec
from pathlib import Path

if not find_spec("course_lib"):
    homes = [Path.cwd(), *Path.cwd().parents]
    if "google.colab" in sys.modules:
        homes = [home := Path("/content/{repo}")]
        !test -d {{home}} || git clone -q --depth 1 -b {branch} {url} {{home}}
    found = [str(home) for home in homes if (home / "course_lib/__init__.py").exists()]
    if not found:
        raise ImportError("course_lib was not found: run `%cd FOLDER`, with the folder of the course, then this cell again")
    sys.path.insert(0, found[0])"""

LINKS_LINE = re.compile(r"^\[!?\[?Open in Colab\].*$", re.MULTILINE)
BADGES_BLOCK = re.compile(r"(<!-- badges -->\n).*?(<!-- /badges -->)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """The repository `owner/repo`, and the branch that the links lead to."""

    owner: str
    repo: str
    branch: str = "main"

    @property
    def url(self) -> str:
        return f"https://github.com/{self.owner}/{self.repo}"

    @property
    def setup(self) -> str:
        """The source of every notebook's first code cell, which makes the library importable here, in Binder and in Colab."""
        return SETUP.format(repo=self.repo, branch=self.branch, url=self.url)

    @property
    def published(self) -> bool:
        """Whether the course has an address: `course publish` has replaced the one that it ships with."""
        return self.owner != "OWNER"

    @property
    def pages(self) -> str:
        """The address of the site, as GitHub Pages gives it."""
        return f"https://{self.owner.lower()}.github.io/{self.repo}"

    def source(self, name: str) -> str:
        """The address of the notebook of that name, as GitHub shows it."""
        return f"{self.url}/blob/{self.branch}/notebooks/{quote(name)}.ipynb"

    def colab(self, name: str) -> str:
        """The address that opens the notebook of that name in Colab."""
        return f"https://colab.research.google.com/github/{self.owner}/{self.repo}/blob/{self.branch}/notebooks/{quote(name)}.ipynb"

    def binder(self, name: str) -> str:
        """The address that opens the notebook of that name in Binder."""
        return f"https://mybinder.org/v2/gh/{self.owner}/{self.repo}/{self.branch}?labpath=notebooks/{quote(name)}.ipynb"

    @property
    def codespaces(self) -> str:
        """The address that opens the repository in a Codespace, as .devcontainer/ describes it."""
        return f"https://codespaces.new/{self.owner}/{self.repo}?ref={self.branch}"

    def kaggle(self, name: str) -> str:
        """The address that opens a copy of the notebook of that name in Kaggle."""
        return f"https://kaggle.com/kernels/welcome?src={self.source(name)}"

    def hub(self, name: str, hub: str = "https://HUB") -> str:
        """The link for a class on a JupyterHub with nbgitpuller: it fetches the course, and opens the notebook of that name."""
        place = quote(f"lab/tree/{self.repo}/notebooks/{name}.ipynb", safe="")
        return f"{hub}/hub/user-redirect/git-pull?repo={quote(self.url, safe='')}&branch={self.branch}&urlpath={place}"

    def links(self, name: str) -> str:
        """One line of Markdown for the notebook itself: no picture on a server, which has no place in LaTeX or offline."""
        return f"[Open in Colab]({self.colab(name)}) · [Open in Binder]({self.binder(name)})"

    def badges(self, name: str) -> str:
        """Markdown for the README: the services, with their own pictures, and how to fetch the course without its history."""
        return (
            f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({self.colab(name)}) "
            f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({self.binder(name)}) "
            f"[![Open in Codespaces](https://github.com/codespaces/badge.svg)]({self.codespaces}) "
            f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({self.kaggle(name)})\n\n"
            f"Or on your own machine: `git clone --depth 1 {self.url}`"
        )


def read(pyproject: Path = PYPROJECT) -> Address:
    """The address that the file gives."""
    return Address(**tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["course"])


def add_links_and_setup(notebook: NotebookNode, name: str, address: Address) -> NotebookNode:
    """The same notebook, with the links under its title and the setup cell before its code; older ones are replaced.

    Raises ValueError where the first cell is not Markdown that begins with a title.
    """
    first = notebook.cells[0] if notebook.cells else None
    if not first or first.cell_type != "markdown" or not first.source.startswith("# "):
        raise ValueError(f"the first cell of {name} must be Markdown that begins with '# ' and the title")
    title, _, rest = LINKS_LINE.sub("", first.source).partition("\n")
    first.source = "\n\n".join(part for part in (title, address.links(name), rest.strip()) if part)
    first_code = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    code = notebook.cells[first_code] if first_code < len(notebook.cells) else None
    if code is None or code.id != "setup":
        code = new_code_cell(id="setup")
        notebook.cells.insert(first_code, code)
    code.source = address.setup
    return notebook


def publish(owner_repo: str, root: Path = ROOT) -> list[Path]:
    """The paths of the files that changed, once pyproject.toml, the README's badges and every notebook point to OWNER/REPO.

    Raises ValueError where `owner_repo` is not two names that GitHub accepts, joined by a slash.
    """
    if not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}/(?!\.)[A-Za-z0-9._-]{1,100}(?<!\.git)", str(owner_repo)):
        raise ValueError(f"owner_repo must be OWNER/REPO, such as ada/diffusion-course, got {owner_repo!r}")
    owner, repo = owner_repo.split("/")
    before = read(root / "pyproject.toml")
    address = Address(owner, repo, before.branch)
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    head, table, rest = project.partition("[tool.course]\n")
    rest = re.sub(r'^owner = ".*"$', f'owner = "{owner}"', rest, count=1, flags=re.MULTILINE)
    rest = re.sub(r'^repo = ".*"$', f'repo = "{repo}"', rest, count=1, flags=re.MULTILINE)
    new = {root / "pyproject.toml": head.replace(f'"{before.url}"', f'"{address.url}"') + table + rest}
    readme = (root / "README.md").read_text(encoding="utf-8")
    new[root / "README.md"] = BADGES_BLOCK.sub(rf"\g<1>{address.badges('00_start_here')}\n\g<2>", readme)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        new[path] = to_text(add_links_and_setup(nbformat.read(path, as_version=4), path.stem, address))
    changed = [path for path, text in new.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        write_atomically(path, new[path])
    return changed


def to_text(notebook: NotebookNode) -> str:
    """The notebook as it is stored: JSON, indented by one space, with a newline at its end."""
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"
