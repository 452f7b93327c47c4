/**
 * The worker of `_post_message.ts`: what one writes without a library.
 *
 * @module
 */

import * as work from "./work.ts";
import { idOf, type Kind, makeItem, type SmallObject } from "./items.ts";

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
/** How many items are to be received; through ports they may come before this. */
let wanted = 0;
let received = 0;
let sum = 0;

function receive(item: number | SmallObject): void {
  sum += idOf(item);
  received++;
  answer();
}

function answer(): void {
  if (wanted === 0 || received < wanted) return;
  scope.postMessage(sum);
  wanted = received = sum = 0;
}

scope.onmessage = ({ data }) => {
  if (wanted > 0) return receive(data as unknown as number | SmallObject);
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
    answer();
  } else if (data.job === "ports") {
    ports = data.ports;
    for (const port of ports) {
      port.onmessage = (event) => receive(event.data);
    }
  }
};

scope.postMessage("ready");
