/**
 * A program that lets foreign code attack it from a pool without permissions, and
 * prints as JSON what each attempt came to.
 *
 * The functions are foreign: they use nothing but their arguments and globals.
 *
 * @module
 */

import { HANDLE, memoryId } from "../../_handle.ts";
import { isDead, selfToken } from "../../_life.ts";
import { Barrier, Pool, Process, Queue, SharedArray } from "../../mod.ts";
import { free, occupy } from "../_occupy.ts";
import { DEADLINE, reaches, within } from "../_within.ts";
import { sharedWords } from "../_words.ts";

/** What came of an attempt: "ok", or the name of the error, or what it found. */
type Report = Record<string, unknown>;

const ROOT = new URL("../../", import.meta.url).href;
const SECRET = "SECRET-OF-ANOTHER-TASK-";
const WAIT = { timeout: DEADLINE };

// -- What Deno is to refuse ------------------------------------------------------

async function tryEverything(root: string): Promise<Report> {
  const attempts: Record<string, () => unknown> = {
    "read a file": () => Deno.readTextFileSync("/etc/hostname"),
    "write a file": () => Deno.writeTextFileSync("sandbox_test", ""),
    "list a folder": () => [...Deno.readDirSync(".")],
    "connect": () => Deno.connect({ port: 9 }),
    "listen": () => Deno.listen({ port: 0 }),
    "fetch": () => fetch("http://127.0.0.1:8/"),
    "open a WebSocket": () => new WebSocket("ws://127.0.0.1:9/"),
    "read the environment": () => Deno.env.get("HOME"),
    "run a program": () => new Deno.Command("true").outputSync(),
    "load a library": () => Deno.dlopen("libc.so.6", {}),
    "ask for the host's name": () => Deno.hostname(),
    "read a file through node": async () => {
      const fs = await import("node:fs");
      return fs.readFileSync("/etc/hostname");
    },
    "run a program through node": async () => {
      const { execSync } = await import("node:child_process");
      return execSync("true");
    },
    "use the inspector": async () => {
      const inspector = await import("node:inspector");
      const session = new inspector.Session();
      session.connect();
      return await new Promise((resolve, reject) =>
        session.post(
          "Runtime.evaluate",
          { expression: "1" },
          (error, value) => error === null ? resolve(value) : reject(error),
        )
      );
    },
    "import a local module": () => import(`${root}tools/check.ts`),
    "import a module of the package it has not loaded": () =>
      import(`${root}_dispatch.ts`),
    "import a remote module": () => import(`http://127.0.0.1:${9}/mod.ts`),
    "start a worker with more permissions": () =>
      new Worker("data:application/javascript,", {
        type: "module",
        deno: { permissions: { read: true } },
      } as WorkerOptions),
    "start a worker from a local file": () =>
      new Promise((resolve, reject) => {
        const worker = new Worker(`${root}tools/check.ts`, { type: "module" });
        worker.onerror = (event) => {
          event.preventDefault();
          reject(new Deno.errors.NotCapable(event.message));
        };
        setTimeout(() => resolve("started"), 10_000);
      }),
    "ask for permissions": async () => {
      const { state } = await Deno.permissions.request({ name: "read" });
      if (state !== "granted") throw new Deno.errors.NotCapable(state);
    },
  };
  const report: Report = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      await attempt();
      report[name] = "ok";
    } catch (error) {
      const { name: kind, message } = error as Error;
      report[name] = /Requires|denied|read access|not allow|prompt|escalate/i
          .test(message)
        ? "refused"
        : `${kind}: ${message}`;
    }
  }
  return report;
}

// -- Patched built-ins ---------------------------------------------------------------

/** Wraps all that can be wrapped; notes every shared memory that passes through. */
async function patchEverything(modules: string[]): Promise<number> {
  const { apply, construct, ownKeys, getPrototypeOf } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor } = Object;
  const typedArray = getPrototypeOf(Uint8Array.prototype) as object;
  const bufferOf = getOwnPropertyDescriptor(typedArray, "buffer")!.get!;
  const { isView } = ArrayBuffer;
  const isShared = getOwnPropertyDescriptor(
    SharedArrayBuffer.prototype,
    "byteLength",
  )!.get!;
  const found: SharedArrayBuffer[] = [];
  const includes = Array.prototype.includes;
  let busy = false;

  function look(value: unknown, depth: number): void {
    if (typeof value !== "object" || value === null) return;
    let memory: unknown = value;
    try {
      if (isView(value)) memory = apply(bufferOf, value, []);
    } catch {
      return; // a DataView
    }
    try {
      apply(isShared, memory, []);
      if (!apply(includes, found, [memory])) {
        defineProperty(found, found.length, {
          value: memory,
          configurable: true,
          enumerable: true,
          writable: true,
        });
      }
      return;
    } catch {
      // It is no shared memory.
    }
    if (depth === 0) return;
    try {
      const keys = ownKeys(value);
      for (let i = 0; i < keys.length && i < 64; i++) {
        const { value: inner } = getOwnPropertyDescriptor(value, keys[i]!) ??
          {};
        look(inner, depth - 1);
      }
      // What the library's own objects tell of themselves.
      look((value as { memory?: unknown }).memory, 0);
    } catch {
      // A proxy, or a getter that does not like it.
    }
  }

  function note(self: unknown, args: ArrayLike<unknown>): void {
    if (busy) return;
    busy = true;
    look(self, 2);
    for (let i = 0; i < args.length; i++) look(args[i], 2);
    busy = false;
  }

  let patched = 0;
  // deno-lint-ignore ban-types -- any function.
  function wrap(run: Function): Function {
    return function (this: unknown, ...args: unknown[]): unknown {
      note(this, args);
      if (new.target !== undefined) {
        return construct(
          run,
          args,
          new.target === undefined ? run : new.target,
        );
      }
      const result = apply(run, this, args);
      note(result, []);
      return result;
    };
  }

  function patch(object: object): void {
    for (const key of ownKeys(object)) {
      if (key === "constructor" || key === "prototype") continue;
      const descriptor = getOwnPropertyDescriptor(object, key)!;
      if (!descriptor.configurable) continue;
      if (typeof descriptor.value === "function") {
        descriptor.value = wrap(descriptor.value);
      } else if (descriptor.get !== undefined) {
        descriptor.get = wrap(descriptor.get) as () => unknown;
      } else continue;
      try {
        defineProperty(object, key, descriptor);
        patched++;
      } catch {
        // It does not want to be.
      }
    }
  }

  const loaded = await Promise.all(
    modules.map((url) => import(url).catch(() => ({}))),
  );
  for (const module of loaded) {
    for (const value of Object.values(module)) {
      if (typeof value === "function" && value.prototype) {
        patch(value.prototype);
      } else if (typeof value === "object" && value !== null) {
        patch(value as object);
      }
    }
  }
  const classes = [
    Map,
    Set,
    WeakMap,
    WeakSet,
    WeakRef,
    FinalizationRegistry,
    DataView,
    ArrayBuffer,
    SharedArrayBuffer,
    Uint8Array,
    Int32Array,
    Float64Array,
    TextEncoder,
    TextDecoder,
    MessagePort,
    EventTarget,
    AbortSignal,
    Promise,
    Error,
  ];
  patch(Atomics);
  patch(Reflect);
  patch(JSON);
  patch(performance);
  patch(typedArray);
  patch(getPrototypeOf([][Symbol.iterator]()) as object);
  patch(getPrototypeOf(new Map().values()) as object);
  for (const Class of classes) patch(Class.prototype);
  for (const name of ["Int32Array", "Uint8Array", "DataView", "Set", "Map"]) {
    const Class = (globalThis as unknown as Record<string, object>)[name]!;
    (globalThis as unknown as Record<string, object>)[name] = new Proxy(Class, {
      construct(target, args, newTarget) {
        note(undefined, args);
        // deno-lint-ignore ban-types -- as above.
        return construct(target as Function, args, newTarget);
      },
    });
  }
  patch(Function.prototype);
  patch(Array.prototype);
  for (const key of ["memory", "words", "ring", "bytes"]) {
    defineProperty(Object.prototype, key, {
      configurable: true,
      get: () => undefined,
      set(this: object, value) {
        note(this, [value]);
        defineProperty(this, key, {
          value,
          writable: true,
          configurable: true,
        });
      },
    });
  }
  for (const type of ["message", "messageerror"]) {
    addEventListener(
      type,
      (event) => note(undefined, [(event as MessageEvent).data]),
    );
  }
  (globalThis as unknown as { found: unknown }).found = found;
  return patched;
}

/** Looks for text in all shared memories that have been found. */
function searchFound(text: string): string[] {
  const { found } = globalThis as unknown as { found: SharedArrayBuffer[] };
  const hits: string[] = [];
  for (const memory of found) {
    const bytes = new Uint8Array(memory).slice(0, 4 << 20);
    if (new TextDecoder("latin1").decode(bytes).includes(text)) {
      hits.push(`${memory.byteLength} of ${memory.maxByteLength} bytes`);
    }
  }
  return hits;
}

// -- Forged messages --------------------------------------------------------------------

/** Posts all that the parent might take for an answer to a task of another's, till told to stop. */
async function forge(root: string, words: Int32Array): Promise<string> {
  const { self: who } = await import(`${root}_life.ts`);
  const { pack } = await import(`${root}_parcel.ts`);
  const { program } = who();
  const post = globalThis as unknown as { postMessage(message: unknown): void };
  const bodies: unknown[] = [null, 1, "text", [], {}, { slot: -1 }];
  for (let slot = 0; slot < 40; slot++) {
    for (const generation of [0, 1, 2]) {
      for (const status of [0, 1]) {
        bodies.push({
          slot,
          generation,
          status,
          count: 1,
          value: pack("forged"),
        });
      }
    }
  }
  do {
    for (const body of bodies) {
      post.postMessage(body);
      post.postMessage({ type: "role", body });
      post.postMessage({ program, type: "host", request: body, transfer: [] });
      post.postMessage({ program, type: "stop", token: 4097 });
      post.postMessage({ program, type: "stop", token: 4098 });
      if (typeof body === "object" && body !== null && "value" in body) {
        post.postMessage({ program, type: "role", body });
      }
    }
    words[0] = 1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  } while (words[1] === 0);
  return "posted";
}

/** Posts what no worker of the library would, as if it were one. */
async function forgeNonsense(root: string): Promise<string> {
  const { self: who } = await import(`${root}_life.ts`);
  const { program } = who();
  const post = globalThis as unknown as { postMessage(message: unknown): void };
  for (const body of [null, 7, {}, { slot: {} }, { value: { head: -1 } }]) {
    for (const type of ["role", "host", "failure", "result", "stop", "else"]) {
      post.postMessage({ program, type, body, error: body, value: body });
    }
  }
  return await new Promise(() => {});
}

/** Writes replies to the tasks of others into its own place for replies. */
async function forgeReplies(root: string): Promise<string> {
  const { Writer } = await import(`${root}_codec.ts`);
  const { writeHead } = Writer.prototype;
  let slot = 0;
  // Slot, generation, status, count of each reply.
  Writer.prototype.writeHead = function (_: number, generation: number): void {
    writeHead.call(this, slot++ % 64, generation, 0, 0);
  };
  return "forged";
}

// -- Memory of others ----------------------------------------------------------------------

/** Returns memory under the number of other memory of the program. */
async function rename(root: string, id: number): Promise<unknown> {
  const { adoptMemory } = await import(`${root}_handle.ts`);
  const memory = new SharedArrayBuffer(16);
  adoptMemory(id, memory);
  return new Int32Array(memory);
}

/** Has its next reply name other memory of the program without sending any. */
async function renameInFrame(root: string, id: number): Promise<string> {
  const { Writer } = await import(`${root}_codec.ts`);
  const { writeHead, writeU8, writeF64 } = Writer.prototype;
  Writer.prototype.writeHead = function (...words: number[]): void {
    writeHead.apply(this, words);
    writeU8.call(this, 0x01);
    writeU8.call(this, 0x2a);
    writeF64.call(this, id);
  };
  return "not this";
}

/** Returns a barrier which runs a function of its own in whoever comes to it last. */
async function returnAction(root: string): Promise<unknown> {
  const { Barrier } = await import(`${root}barrier.ts`);
  return new Barrier(1, {
    action: () => {
      (globalThis as unknown as { hadAction: boolean }).hadAction = true;
    },
  });
}

// -- Running -------------------------------------------------------------------------------

function nameOf(error: unknown): string {
  return error instanceof Error
    ? `${error.name}: ${error.message}`
    : `${error}`;
}

/** Tasks of others, with what nobody else is to see; all must have their own result. */
async function useAsVictim(pool: Pool, count: number): Promise<string> {
  const echo = (text: string) => text.length;
  const wrong: string[] = [];
  await Promise.all(Array.from({ length: count }, async (_, i) => {
    const text = `${SECRET}${"x".repeat(i * 40)}`;
    try {
      const length = await pool.apply(echo, [text], WAIT);
      if (length !== text.length) wrong.push(`${length} for ${text.length}`);
    } catch (error) {
      wrong.push(nameOf(error));
    }
  }));
  return wrong.length === 0 ? "all well" : wrong.join(", ");
}

const MODULES = [
  "_ring.ts",
  "_ring_frame.ts",
  "_codec.ts",
  "_park.ts",
  "_life.ts",
  "_handle.ts",
  "_channel.ts",
  "_parcel.ts",
  "_pool_protocol.ts",
  "_pool_worker.ts",
  "_worker.ts",
  "queue.ts",
  "shared.ts",
  "lock.ts",
].map((name) => `${ROOT}${name}`);

const scenarios: Record<string, () => Promise<Report>> = {
  async permissions() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    return await pool.apply(tryEverything, [ROOT]);
  },

  async spy() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    await useAsVictim(pool, 10);
    const patched = await pool.apply(patchEverything, [MODULES], WAIT);
    // Its own view of the ring is used anew by each of these.
    const victims = await useAsVictim(pool, 60);
    const shared = new SharedArray("i32", 4);
    const lent = await pool.apply(
      (array: SharedArray<"i32">) => array.length,
      [shared],
      WAIT,
    );
    const found = await pool.apply(searchFound, [SECRET], WAIT);
    return { patched: patched > 200, victims, lent, found };
  },

  /** What one task is given, no other worker sees. */
  async lent() {
    await using pool = new Pool({ processes: 2, permissions: "none" });
    const listen = async () => {
      let memories = 0;
      addEventListener("message", (event) => {
        const seen = new Set<unknown>();
        (function look(value: unknown): void {
          if (typeof value !== "object" || value === null) return;
          if (seen.has(value)) return;
          seen.add(value);
          if (value instanceof SharedArrayBuffer) memories++;
          else Object.values(value).forEach(look);
        })((event as MessageEvent).data);
      });
      await new Promise((resolve) => setTimeout(resolve, 700));
      return memories;
    };
    const spy = pool.apply(listen, [], WAIT);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const shared = new SharedArray("i32", 4);
    const use = (array: SharedArray<"i32">) => array.length;
    for (let i = 0; i < 5; i++) await pool.apply(use, [shared], WAIT);
    return { memories: await spy };
  },

  async forge() {
    await using pool = new Pool({ processes: 2, permissions: "none" });
    const words = new Int32Array(new SharedArrayBuffer(8));
    const attack = pool.apply(forge, [ROOT, words], WAIT).catch(nameOf);
    // Its own task keeps the attacker's worker: the other one runs those of the victims.
    await reaches(words, 0, 1);
    const victims = await useAsVictim(pool, 60);
    words[1] = 1;
    const other = new Pool(1);
    const elsewhere = await useAsVictim(other, 5);
    other.terminate();
    return { attack: await attack, victims, elsewhere };
  },

  async nonsense() {
    await using good = new Pool(1);
    const bad = new Pool({ processes: 1, permissions: "none" });
    const attack = await bad.apply(forgeNonsense, [ROOT], WAIT).catch(nameOf);
    const elsewhere = await useAsVictim(good, 5);
    const after = await useAsVictim(bad, 5);
    bad.terminate();
    return { attack, elsewhere, after };
  },

  async replies() {
    await using pool = new Pool({ processes: 2, permissions: "none" });
    const nap = (ms: number) =>
      new Promise<number>((resolve) => setTimeout(() => resolve(ms), ms));
    // One worker is busy with this, the other one is the attacker's.
    const words = sharedWords();
    const victim = pool.apply(occupy, [words], WAIT);
    await reaches(words, 0, 1);
    const attack = await pool.apply(
      forgeReplies,
      [ROOT],
      { timeout: 1000 },
    ).catch(nameOf);
    const own = await pool.apply(nap, [1], { timeout: 500 }).catch(nameOf);
    free(words);
    return { attack, own, victim: await victim.catch(nameOf) };
  },

  /** Scribbles over a queue it was given: that queue is lost, and nothing else. */
  async scribble() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    const queue = new Queue<number>();
    await queue.put(1);
    const healthy = new Queue<number>();
    const scribbled = await pool.apply(
      (given: unknown) => {
        const symbols: symbol[] = [];
        for (let at = given; at; at = Object.getPrototypeOf(at)) {
          symbols.push(...Object.getOwnPropertySymbols(at));
        }
        const handle = symbols.find((s) =>
          s.description === "multiprocessing.handle"
        )!;
        const { parts } =
          (given as Record<symbol, () => { parts: unknown[] }>)[handle]!();
        const bytes = new Uint8Array(parts[0] as SharedArrayBuffer);
        crypto.getRandomValues(bytes.subarray(0, 0));
        for (let i = 256; i < bytes.length; i++) bytes[i] = i * 7;
        return bytes.length;
      },
      [queue],
      WAIT,
    );
    await healthy.put(5, WAIT);
    return {
      scribbled: scribbled > 0,
      healthy: await healthy.get(WAIT),
      victims: await useAsVictim(pool, 5),
    };
  },

  /** Names memory of the program that it was not given, in each way there is. */
  async rename() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    const mine = new SharedArray("i32", [1, 2, 3, 4]);
    const id = memoryId(mine[HANDLE]().parts[0] as SharedArrayBuffer);
    const result = await pool.apply(rename, [ROOT, id], WAIT).catch(nameOf);
    // Its worker is replaced: what it left patched is gone.
    const frame = await pool.apply(renameInFrame, [ROOT, id], WAIT)
      .catch(nameOf);
    const after = await useAsVictim(pool, 5);
    const { restarted } = pool.stats;
    const process = new Process({
      target: rename,
      args: [ROOT, id],
      permissions: "none",
    }).start();
    const ofProcess = await process.result.catch(nameOf);
    return { result, frame, restarted, after, ofProcess };
  },

  /** What it was given and what it made itself it can return, any number of times. */
  async honest() {
    await using pool = new Pool({
      processes: 1,
      permissions: "none",
      initializer: (array: SharedArray<"i32">) => {
        (globalThis as unknown as { kept: unknown }).kept = array;
      },
      initArgs: [new SharedArray("i32", [7])],
    });
    const mine = new SharedArray("i32", [1, 2]);
    const echo = (value: unknown) => value;
    const given = await pool.apply(echo, [mine], WAIT) as unknown;
    const kept = await pool.apply(
      () => (globalThis as unknown as { kept: SharedArray<"i32"> }).kept,
      [],
      WAIT,
    );
    const make = async (root: string) => {
      const { Queue } = await import(`${root}queue.ts`);
      const scope = globalThis as unknown as { made: unknown };
      return scope.made ??= new Queue();
    };
    const made = await pool.apply(make, [ROOT], WAIT) as Queue<number>;
    const again = await pool.apply(make, [ROOT], WAIT);
    const back = await pool.apply(echo, [made], WAIT) as unknown;
    const fail = (value: unknown) => {
      throw Object.assign(new Error("failed"), { value });
    };
    const thrown = await pool.apply(fail, [mine], WAIT).catch((error) =>
      error.value
    );
    const process = new Process({
      target: echo,
      args: [mine],
      permissions: "none",
    }).start();
    return {
      given: given === mine,
      kept: kept.length,
      made: made instanceof Queue && made === again && made === back,
      ofProcess: await process.result === mine,
      thrown: thrown === mine,
      restarted: pool.stats.restarted,
    };
  },

  /** Sends code to be run in the program, in a handle. */
  async action() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    const barrier = await pool.apply(returnAction, [ROOT], WAIT).catch(nameOf);
    if (barrier instanceof Barrier) await barrier.wait(WAIT);
    const mine = new Barrier(1, { action: () => 0 });
    const back = await pool.apply((value: unknown) => value, [mine], WAIT);
    return {
      barrier,
      ran: "hadAction" in globalThis,
      own: back as unknown === mine,
      after: await useAsVictim(pool, 3),
    };
  },

  /** Says that others are dead. */
  async bury() {
    await using pool = new Pool({ processes: 1, permissions: "none" });
    const attack = await pool.apply(
      async (root: string) => {
        const { bury, self: who } = await import(`${root}_life.ts`);
        for (let slot = 0; slot < 64; slot++) {
          for (let age = 1; age < 8; age++) {
            const token = age << 12 | slot;
            if (token !== who().token) bury(token);
          }
        }
        return "buried";
      },
      [ROOT],
      WAIT,
    );
    const process = new Process({ target: () => 7 }).start();
    return {
      attack,
      mainIsDead: isDead(selfToken()),
      process: await process.result,
      after: await useAsVictim(pool, 3),
    };
  },
};

if (import.meta.main) {
  const [name] = Deno.args;
  try {
    const report = await within(scenarios[name!]!(), name!);
    console.log(JSON.stringify(report));
    Deno.exit(0);
  } catch (error) {
    console.error(error);
    Deno.exit(1);
  }
}
