/**
 * A bare worker for the tests of rings, queues, pipes and shared values: becomes a
 * thread of the program, then does the jobs it is sent.
 *
 * @module
 */

import type { Reader, Writer } from "../../_codec.ts";
import { CONTROL_BYTES, enterThread } from "../../_life.ts";
import { PENDING, waitSync } from "../../_park.ts";
import { Ring, TAKE_EMPTY, TAKE_INT } from "../../_ring.ts";
import { DEADLINE } from "../_within.ts";

/** What a worker is to do. */
export interface Job {
  /** The ring's memory. */
  memory: SharedArrayBuffer;
  /** What to do with it. */
  act: "put" | "take";
  /** Number of the producer, below 8. */
  producer: number;
  /** How many messages: of a producer, or of all of them. */
  count: number;
  /** Messages are up to this long; 0: integers only. */
  maxBytes: number;
  /** How often each message was taken, by producer * count + number. */
  seen: SharedArrayBuffer;
  /** [0]: how many are still to be taken. [1]: errors. [2]: the start gun. */
  shared: SharedArrayBuffer;
}

/** A private message of so many bytes whose content tells its number. */
export function fill(
  message: { bytes: Uint8Array; length: number; blobs: Uint8Array[] },
  id: number,
  length: number,
): void {
  const words = new Int32Array(message.bytes.buffer);
  words[0] = id;
  words[1] = length;
  for (let i = 8; i < length; i++) message.bytes[i] = (id + i) & 255;
  message.length = length;
  message.blobs = [];
  if (id % 16 === 5 && length > 100) {
    message.blobs = [1, 2, 3].slice(id % 3).map((n) =>
      new Uint8Array(length >> n).fill(id + n)
    );
  }
}

/** Returns the number a message tells, or -1 if its content is wrong. */
export function check(r: Reader): number {
  const words = new Int32Array(r.bytes.buffer);
  const id = words[0]!;
  if (r.end !== words[1] || r.position !== 0) return -1;
  for (let i = 8; i < r.end; i++) {
    if (r.bytes[i] !== ((id + i) & 255)) return -1;
  }
  const blobs = id % 16 === 5 && r.end > 100 ? [1, 2, 3].slice(id % 3) : [];
  if (r.blobs.length !== blobs.length) return -1;
  const whole = blobs.every((n, i) => {
    const blob = r.blobs[i]!;
    return blob.length === r.end >> n &&
      blob.every((b) => b === (id + n & 255));
  });
  return whole ? id : -1;
}

/** A deterministic length for a message. */
export function lengthOf(id: number, maxBytes: number): number {
  const x = Math.imul(id + 1, 0x9e3779b1) >>> 0;
  return 8 + (x % (maxBytes - 7));
}

/** Makes a `Writer`-like message buffer. */
export function newMessage(size: number): Writer {
  return {
    bytes: new Uint8Array(Math.ceil(size / 8) * 8 + 8),
    length: 0,
    blobs: [],
  } as unknown as Writer;
}

/** Makes a `Reader`-like one. */
export function newReader(): Reader {
  return {
    bytes: new Uint8Array(0),
    position: 0,
    end: 0,
    blobs: [],
  } as unknown as Reader;
}

/** Does a job. */
export function run(job: Job): void {
  const shared = new Int32Array(job.shared);
  const ring = new Ring(job.memory);
  Atomics.wait(shared, 2, 0, DEADLINE);
  if (job.act === "put") put(job, ring);
  else take(job, ring, shared);
}

function put(job: Job, ring: Ring): void {
  const message = newMessage(job.maxBytes);
  const { words, at } = ring.space;
  for (let i = 0; i < job.count; i++) {
    const id = job.producer * job.count + i;
    let attempt = () => ring.tryPutInt(id) ? true : PENDING;
    if (job.maxBytes > 0 && i % 4 !== 0) {
      fill(message, id, lengthOf(id, job.maxBytes));
      attempt = () => ring.tryPut(message) ? true : PENDING;
    }
    waitSync<true>("put", words, at, attempt, { timeout: DEADLINE });
  }
}

function take(job: Job, ring: Ring, shared: Int32Array): void {
  const reader = newReader();
  const seen = new Uint8Array(job.seen);
  const last = new Int32Array(8).fill(-1);
  const { words, at } = ring.items;
  while (Atomics.sub(shared, 0, 1) > 0) {
    const kind = waitSync("take", words, at, () => {
      const kind = ring.tryTake(reader);
      return kind === TAKE_EMPTY ? PENDING : kind;
    }, { timeout: DEADLINE });
    const id = kind === TAKE_INT ? ring.immediate : check(reader);
    const producer = Math.floor(id / job.count);
    if (id < 0 || producer > 7 || Atomics.add(seen, id, 1) !== 0) {
      Atomics.add(shared, 1, 1);
    }
    if (id <= last[producer]!) Atomics.add(shared, 1, 1);
    last[producer] = id;
  }
}

const scope = globalThis as unknown as {
  WorkerGlobalScope?: unknown;
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
};
if (scope.WorkerGlobalScope !== undefined) {
  scope.onmessage = (event) => {
    const { token, table, job } = event.data;
    if (table !== undefined) {
      return enterThread(
        {
          program: "test",
          token,
          id: 1,
          name: "Process-1",
          path: "Process-1",
          daemon: false,
          parent: null,
        },
        table,
        new Int32Array(new SharedArrayBuffer(CONTROL_BYTES)),
      );
    }
    try {
      if (job !== undefined) run(job);
      scope.postMessage("done");
    } catch (error) {
      scope.postMessage(String(error));
    }
  };
}
