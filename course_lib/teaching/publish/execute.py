"""Executing a notebook's cells in order, with progress reports, and removing what holds for one machine only."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from course_lib.files import NOTEBOOKS, ROOT

WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}


class Client(NotebookClient):
    """nbclient's client, which stops at the first error and reports its progress.

    `reporter` has three methods: `start(cell)`, `text(line)` with the newest line of a progress bar or of stderr, and
    `end(cell)`.
    """

    def __init__(self, notebook: NotebookNode, reporter, folder: Path = NOTEBOOKS, seconds: int = 600):
        super().__init__(
            notebook,
            timeout=seconds,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            store_widget_state=False,
            record_timing=False,
            coalesce_streams=True,
            on_cell_execute=lambda cell, cell_index: reporter.start(cell),
            on_cell_executed=lambda cell, cell_index, execute_reply: reporter.end(cell),
        )
        self.reporter = reporter

    def run(self) -> NotebookNode:
        """The same notebook, with the outputs of every cell; the kernel's own log is discarded.

        Raises RuntimeError where a cell raises, with its traceback on stderr, or where the kernel dies; TimeoutError; and
        KeyboardInterrupt on Ctrl-C.
        """
        try:
            return self.execute(stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            print(f"\n{error}", file=sys.stderr)
            raise RuntimeError(f"a cell raised {error.ename}: {error.evalue}") from None
        except (AssertionError, DeadKernelError):
            if hasattr(self, "_async_cleanup_kernel_future"):  # on Ctrl-C nbclient stops its own kernel,
                logging.getLogger("asyncio").disabled = True  # and its tasks log errors as they end
                raise KeyboardInterrupt from None
            raise

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream":
            lines = [line.strip() for line in re.split(r"[\r\n]", msg["content"]["text"])]
            if any(lines) and (msg["content"]["name"] == "stderr" or "\r" in msg["content"]["text"]):
                self.reporter.text([line for line in lines if line][-1])
        return super().process_message(msg, cell, cell_index)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """The same notebook without what holds for one run on one machine: widget state, empty streams, versions, absolute paths.

    A widget is left out, for the HTML beside it, in the same output or in one of its own, takes its place.
    """
    notebook.metadata = NotebookNode(METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        if cell.cell_type != "code":
            continue
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
        cell.outputs = [o for o in cell.outputs if list(o.get("data", {})) != [WIDGET]]
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = without_paths(output.text)
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
            for mime, data in output.get("data", {}).items():
                output.data[mime] = without_paths(data) if mime.startswith("text/") else data
    return notebook


def without_paths(text: str) -> str:
    """The text with '.' for the repository's folder, '~' for the home folder, and 'cell' for a kernel's temporary file."""
    text = re.sub(r"(?<!\S)\S*ipykernel_\d+/\d+\.py", "cell", text)
    return text.replace(str(ROOT), ".").replace(str(Path.home()), "~") if len(Path.home().parts) > 1 else text
