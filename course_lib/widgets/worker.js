// A worker that runs a widget's own program, from inside the page: no file and no server is needed.

/**
 * A worker in which `modules`, all of the widget's program (see page.py), is at work as its `serve` says. `end` ends it.
 * Throws where the page can have no worker; where it may have none, `onerror` of the worker is called.
 * @param {() => any} modules
 */
export function startWorker(modules) {
  const url = URL.createObjectURL(new Blob([`(${modules})().serve()`]));
  const worker = new Worker(url);
  function end() {
    worker.terminate();
    URL.revokeObjectURL(url);
  }
  return { worker, end };
}
