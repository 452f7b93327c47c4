/**
 * The worker of `_post_message.ts`: what one writes without a library.
 *
 * @module
 */

import * as work from "./work.ts";
import { idOf, type Kind, makeItem } from "./items.ts";

/** What it is asked to do. */
export type Job =
  | { job: "call" | "map"; id: number; name: string; value: unknown }
  | { job: "ports"; ports: MessagePort[] }
  | { job: "produce"; kind: Kind; count: number }
  | { job: "consume"; count: number };

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage(message: unknown): void;
};
const functions = work as unknown as Record<
  string,
  (value: unknown) => unknown
>;

/** Where items go to or come from, if not to the one who made this worker. */
let ports: MessagePort[] = [];
let wanted = 0;
let sum = 0;

function receive(item: number): void {
  sum += item;
  if (--wanted > 0) return;
  scope.postMessage(sum);
  sum = 0;
}

scope.onmessage = ({ data }) => {
  if (wanted > 0) return receive(idOf(data as never));
  if (data.job === "call") {
    const value = functions[data.name]!(data.value);
    scope.postMessage({ id: data.id, value });
  } else if (data.job === "map") {
    const run = functions[data.name]!;
    const value = (data.value as unknown[]).map((item) => run(item));
    scope.postMessage({ id: data.id, value });
  } else if (data.job === "produce") {
    const to = ports.length > 0 ? ports : [scope];
    for (let i = 0; i < data.count; i++) {
      to[i % to.length]!.postMessage(makeItem(data.kind, i));
    }
  } else if (data.job === "consume") {
    wanted = data.count;
  } else if (data.job === "ports") {
    ports = data.ports;
    for (const port of ports) {
      port.onmessage = (event) => receive(idOf(event.data));
    }
  }
};

scope.postMessage("ready");
