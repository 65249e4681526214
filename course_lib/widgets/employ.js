// The trainee of trainer.js at work: in a worker, or in the page where it may have none.
import { trainee } from "./trainer.js";
import { startWorker } from "./worker.js";

/** @typedef {import("./trainer.js").Order} Order */

/**
 * Sends orders to a trainee in a worker, or in the page, in short slices, where it may have none.
 * @param {() => any} modules
 * @param {(answer: import("./trainer.js").Answer) => void} receive
 */
export function employ(modules, receive) {
  /** @type {Order[]} */
  const sent = [];
  let [send, end] = [(/** @type {Order} */ _order) => {}, () => {}];
  function atHome() {
    end();
    let ended = false;
    const obey = trainee((answer) => ended || receive(answer), 8);
    end = () => {
      ended = true;
      obey({ training: false });
    };
    send = obey;
    sent.forEach(send);
  }
  try {
    const hired = startWorker(modules);
    hired.worker.onmessage = ({ data }) => receive(data);
    hired.worker.onerror = atHome;
    send = (order) => hired.worker.postMessage(order);
    end = hired.end;
  } catch {
    atHome();
  }
  return {
    order(/** @type {Order} */ order) {
      sent.push(order);
      send(order);
    },
    end: () => end(),
  };
}
