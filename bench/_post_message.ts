/**
 * The rival in every table: `new Worker` and `postMessage`, written by hand.
 *
 * @module
 */

import type { Job } from "./testdata/post_message_worker.ts";

const WORKER = new URL("./testdata/post_message_worker.ts", import.meta.url);

/** One worker. */
export class MessageWorker {
  readonly #worker = new Worker(WORKER.href, { type: "module" });
  /** Resolves when the worker's first message is there. */
  readonly ready: Promise<void> = new Promise((resolve) => {
    this.#worker.onmessage = () => resolve();
  });

  /** Has each message handled by `receive`. */
  onMessage(receive: (message: unknown) => void): void {
    this.#worker.onmessage = (event) => receive(event.data);
  }

  /** The next message. */
  next(): Promise<unknown> {
    return new Promise((resolve) => this.onMessage(resolve));
  }

  /** Asks for something. */
  post(job: Job, transfer: Transferable[] = []): void {
    // Deno's first look at a transfer list takes 5 ms, even if it is empty.
    if (transfer.length === 0) this.#worker.postMessage(job);
    else this.#worker.postMessage(job, transfer);
  }

  /** Sends one item to a worker that consumes. */
  send(item: unknown): void {
    this.#worker.postMessage(item);
  }

  /** Ends the worker. */
  close(): void {
    this.#worker.terminate();
  }
}

/** A pool: calls go round robin, replies are matched by number. */
export class MessagePool {
  readonly #workers: MessageWorker[];
  readonly #pending = new Map<number, (value: unknown) => void>();
  #calls = 0;

  private constructor(workers: MessageWorker[]) {
    this.#workers = workers;
    for (const worker of workers) {
      worker.onMessage((message) => {
        if (message === "ready") return; // it is asked before that, too
        const { id, value } = message as { id: number; value: unknown };
        this.#pending.get(id)!(value);
        this.#pending.delete(id);
      });
    }
  }

  /** Starts the workers. */
  static start(processes: number): MessagePool {
    return new MessagePool(
      Array.from({ length: processes }, () => new MessageWorker()),
    );
  }

  #ask(
    job: "call" | "map",
    name: string,
    value: unknown,
    transfer: Transferable[],
  ): Promise<unknown> {
    return new Promise((resolve) => {
      const id = this.#calls++;
      this.#pending.set(id, resolve);
      const worker = this.#workers[id % this.#workers.length]!;
      worker.post({ job, id, name, value }, transfer);
    });
  }

  /** Calls a function of `testdata/work.ts`. */
  call(
    name: string,
    value: unknown,
    transfer: Transferable[] = [],
  ): Promise<unknown> {
    return this.#ask("call", name, value, transfer);
  }

  /** Calls it for each item, in four chunks for each worker. */
  async map(name: string, items: unknown[]): Promise<unknown[]> {
    const size = Math.ceil(items.length / (this.#workers.length * 4));
    const parts: Promise<unknown>[] = [];
    for (let from = 0; from < items.length; from += size) {
      const part = items.slice(from, from + size);
      parts.push(this.#ask("map", name, part, []));
    }
    return (await Promise.all(parts)).flat();
  }

  /** Ends the workers. */
  close(): void {
    for (const worker of this.#workers) worker.close();
  }
}
