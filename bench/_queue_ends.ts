/**
 * Queues with workers at their other ends, and the same over `postMessage`.
 *
 * @module
 */

import { Process, Queue } from "@parallel/multiprocessing";
import { MessageWorker } from "./_post_message.ts";
import {
  idOf,
  type Kind,
  makeItem,
  type SmallObject,
} from "./testdata/items.ts";
import { consume, produce } from "./testdata/queue_ends.ts";

/** Workers that put into, and workers that get out of, one queue. */
export class QueueEnds {
  /** The queue. */
  readonly items: Queue<number | SmallObject> = new Queue();
  readonly #sums = new Queue<number>();
  readonly #producers: Queue<number>[];
  readonly #consumers: Queue<number>[];

  /** Starts the workers. They are daemons, and wait when there is nothing to do. */
  constructor(kind: Kind, producers: number, consumers: number) {
    this.#producers = this.#start(
      producers,
      (commands) =>
        new Process({
          target: produce,
          args: [commands, this.items, kind],
          daemon: true,
        }),
    );
    this.#consumers = this.#start(
      consumers,
      (commands) =>
        new Process({
          target: consume,
          args: [commands, this.items, this.#sums],
          daemon: true,
        }),
    );
  }

  #start(
    count: number,
    make: (commands: Queue<number>) => Process,
  ): Queue<number>[] {
    return Array.from({ length: count }, () => {
      const commands = new Queue<number>();
      make(commands).start();
      return commands;
    });
  }

  /** Has the producers put `count` items each. */
  put(count: number): void {
    for (const commands of this.#producers) commands.putSync(count);
  }

  /** Has the consumers get `count` items each. */
  get(count: number): void {
    for (const commands of this.#consumers) commands.putSync(count);
  }

  /** The sum of what the consumers got. */
  async sum(): Promise<number> {
    let total = 0;
    for (const _ of this.#consumers) total += await this.#sums.get();
    return total;
  }

  /** Gets `count` items in this thread, asynchronously; their sum. */
  async take(count: number): Promise<number> {
    let total = 0;
    for (let i = 0; i < count; i++) total += idOf(await this.items.get());
    return total;
  }

  /** Gets `count` items in this thread, blocking; their sum. */
  takeSync(count: number): number {
    let total = 0;
    for (let i = 0; i < count; i++) total += idOf(this.items.getSync());
    return total;
  }

  /** Ends the workers. */
  close(): void {
    for (const commands of [...this.#producers, ...this.#consumers]) {
      commands.close();
    }
  }
}

/** The same with messages: to and from this thread, or through ports. */
export class MessageEnds {
  readonly #kind: Kind;
  readonly #producers: MessageWorker[];
  readonly #consumers: MessageWorker[];

  private constructor(
    kind: Kind,
    producers: MessageWorker[],
    consumers: MessageWorker[],
  ) {
    this.#kind = kind;
    this.#producers = producers;
    this.#consumers = consumers;
  }

  /** Starts the workers; a port connects each producer with each consumer. */
  static async start(
    kind: Kind,
    producers: number,
    consumers: number,
  ): Promise<MessageEnds> {
    const from = Array.from({ length: producers }, () => new MessageWorker());
    const to = Array.from({ length: consumers }, () => new MessageWorker());
    await Promise.all([...from, ...to].map((worker) => worker.ready));
    if (producers > 0 && consumers > 0) {
      const ends = to.map((): MessagePort[] => []);
      for (const worker of from) {
        const ports = ends.map((others) => {
          const { port1, port2 } = new MessageChannel();
          others.push(port2);
          return port1;
        });
        worker.post({ job: "ports", ports }, ports);
      }
      for (const [i, ports] of ends.entries()) {
        to[i]!.post({ job: "ports", ports }, ports);
      }
    }
    return new MessageEnds(kind, from, to);
  }

  /** Has the producers post `count` items each to this thread; their sum. */
  take(count: number): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    let left = count * this.#producers.length;
    let total = 0;
    for (const worker of this.#producers) {
      worker.onMessage((item) => {
        total += idOf(item as number | SmallObject);
        if (--left === 0) resolve(total);
      });
      worker.post({ job: "produce", kind: this.#kind, count });
    }
    return promise;
  }

  /** Posts `count` items to each consumer; the sum of what they got. */
  async give(count: number): Promise<number> {
    const sums = this.#sums(count);
    for (let i = 0; i < count; i++) {
      const item = makeItem(this.#kind, i);
      for (const worker of this.#consumers) worker.send(item);
    }
    return await sums;
  }

  /** Has the producers post `count` items each to the consumers, in turn. */
  async pass(count: number): Promise<number> {
    const share = count * this.#producers.length / this.#consumers.length;
    const sums = this.#sums(share);
    for (const worker of this.#producers) {
      worker.post({ job: "produce", kind: this.#kind, count });
    }
    return await sums;
  }

  async #sums(count: number): Promise<number> {
    const sums = this.#consumers.map((worker) => {
      worker.post({ job: "consume", count });
      return worker.next() as Promise<number>;
    });
    let total = 0;
    for (const sum of await Promise.all(sums)) total += sum;
    return total;
  }

  /** Ends the workers. */
  close(): void {
    for (const worker of [...this.#producers, ...this.#consumers]) {
      worker.close();
    }
  }
}
