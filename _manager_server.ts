/**
 * The root module of a manager's server: owns the objects and runs their methods.
 *
 * A method runs as soon as its request is taken, to its end or its first `await`;
 * nothing else runs in between. Where a caller's box is full, the replies to it wait
 * here and hold up nobody else's.
 *
 * @module
 */

import { encode, Reader, Writer } from "./_codec.ts";
import {
  checkStop,
  isDead,
  isThreadStopped,
  self as identity,
  stopRequested,
} from "./_life.ts";
import type { Link } from "./_manager_link.ts";
import {
  checkClass,
  Dict,
  List,
  methodsOf,
  Namespace,
} from "./_manager_objects.ts";
import {
  bellOf,
  BOXES,
  DICT,
  DONE,
  FACTORY,
  FAILED,
  INSTANCE,
  LIST,
  type ManagerMemory,
  NAMESPACE,
  OPEN,
  stateOf,
} from "./_manager_protocol.ts";
import { linkTo, proxyFor } from "./_manager_proxy.ts";
import {
  eventLoopTurn,
  isThenable,
  napSync,
  PENDING_WEAK,
  spin,
  TURN_MS,
  waitAsync,
  wake,
} from "./_park.ts";
import { asRefusedResult, type Parcel, unpack } from "./_parcel.ts";
import { resolveTarget } from "./_resolve.ts";
import { Ring, TAKE_EMPTY } from "./_ring.ts";
import { copyOfMessage, type Message } from "./_ring_frame.ts";
import type { TargetRef } from "./_target.ts";
import { packThrown } from "./_thrown.ts";
import { enterWorker, exitThread, webPort } from "./_worker.ts";

const { apply, construct } = Reflect;

/** How often an idle server looks for requests before it sleeps. */
const SPINS = 200;
/** How long it then sleeps in its thread before it sleeps in its event loop. */
const NAP_MS = 2;

/** A method's code. */
type Method = (...args: unknown[]) => unknown;

/** An object of the manager. */
interface Managed {
  target: object;
  name: string;
  methods: Set<string>;
}

/** Who called, and which call it was. */
interface Caller {
  box: number;
  token: number;
  number: number;
}

/** A reply that found its box full. */
interface Waiting {
  token: number;
  message: Message;
}

const reader = new Reader();
const ownWriter = new Writer();
const objects = new Map<number, Managed>();
const boxes: (Ring | undefined)[] = [];
const waiting: (Waiting[] | undefined)[] = [];

let link: Link;
let control: Int32Array;
let requests: Ring;
let lastId = FACTORY;
/** How many async methods are under way. */
let underWay = 0;

// -- Objects -------------------------------------------------------------------

/** Takes an object in; returns the proxy that stands for it. */
function keep(target: object, type: number, name: string): object {
  const id = ++lastId;
  const methods = methodsOf(target);
  objects.set(id, { target, name, methods: new Set(methods) });
  return proxyFor(link, {
    id,
    type,
    name,
    methods: type === INSTANCE ? methods : [],
  });
}

/** The object with the methods of `Manager`. */
const factory = {
  dict(entries?: Iterable<[unknown, unknown]>): object {
    return keep(new Dict(entries), DICT, "Dict");
  },

  list(items?: unknown[]): object {
    return keep(new List(items), LIST, "List");
  },

  namespace(object?: Record<string, unknown>): object {
    return keep(new Namespace(object), NAMESPACE, "Namespace");
  },

  create(ref: TargetRef, args: unknown[]): object | Promise<object> {
    const found = resolveTarget(ref);
    return found instanceof Promise
      ? found.then((target) => instantiate(target, args))
      : instantiate(found, args);
  },
};

// deno-lint-ignore ban-types -- a class is a function.
function instantiate(target: Function, args: unknown[]): object {
  checkClass(target);
  const { name } = target;
  const instance = construct(target, args) as object;
  return keep(instance, INSTANCE, name === "" ? "Object" : name);
}

/** Runs a method; the arguments are this thread's own. */
function run(id: number, method: string, args: unknown[]): unknown {
  const managed = objects.get(id);
  if (managed === undefined) {
    throw new TypeError(`Cannot call ${method}: there is no object #${id}`);
  }
  const { target, name, methods } = managed;
  const code = methods.has(method)
    ? (target as Record<string, unknown>)[method]
    : undefined;
  if (typeof code !== "function") {
    throw new TypeError(
      `Cannot call ${name}.${method}: the object has no such method`,
    );
  }
  return apply(code as Method, target, args);
}

// -- Calls by this thread itself -------------------------------------------------

/** Copies a value as if it had travelled, as deep in a message as that. */
function copyOf(value: unknown, depth = 0): unknown {
  const writer = new Writer(256);
  writer.depth = depth;
  encode(writer, value, link.context);
  const blobs = writer.blobs.map((blob) => blob.slice());
  return link.decode(new Reader(writer.bytes, 0, writer.length, blobs));
}

function runLocally(id: number, method: string, args: unknown[]): unknown {
  const result = run(id, method, copyOf(args) as unknown[]);
  return isThenable(result)
    ? Promise.resolve(result).then((value) => copyOf(value))
    : copyOf(result);
}

// -- Replies -------------------------------------------------------------------

function startReply(
  { token, number }: Caller,
  status: number,
): Writer {
  // A getter in a value may run any code of its class.
  const writer = ownWriter.busy ? new Writer() : ownWriter;
  writer.reset();
  writer.writeU32(token);
  writer.writeU32(number);
  writer.writeU32(status);
  return writer;
}

function replyValue(caller: Caller, what: string, value: unknown): void {
  let writer: Writer;
  try {
    writer = startReply(caller, DONE);
    encode(writer, value, link.context);
  } catch (error) {
    if (isThreadStopped(error)) throw error;
    return replyError(caller, asRefusedResult(what, error));
  }
  send(caller, writer);
}

function replyError(caller: Caller, error: unknown): void {
  if (isThreadStopped(error)) throw error;
  const writer = startReply(caller, FAILED);
  encode(writer, packThrown(error, copyOf), link.context);
  send(caller, writer);
}

function send(caller: Caller, writer: Writer): void {
  const { box, token } = caller;
  const ring = boxes[box] ??= new Ring(link.memory.boxes[box]!);
  const queue = waiting[box];
  let done = false;
  try {
    done = queue === undefined && ring.tryPut(writer);
  } catch (error) {
    return replyError(caller, error);
  }
  if (done) {
    wake(control, bellOf(box), Infinity);
    return;
  }
  const message = copyOfMessage(writer);
  if (queue !== undefined) queue.push({ token, message });
  else sendLater(box, ring, waiting[box] = [{ token, message }]);
}

async function sendLater(
  box: number,
  ring: Ring,
  queue: Waiting[],
): Promise<void> {
  const { words, at } = ring.space;
  await waitAsync<void>("send a reply", words, at, () => {
    while (queue.length > 0) {
      const { token, message } = queue[0]!;
      if (!isDead(token) && !ring.tryPut(message)) return PENDING_WEAK;
      queue.shift();
      wake(control, bellOf(box), Infinity);
    }
    // At once: the next reply may come before this function goes on.
    waiting[box] = undefined;
  });
}

// -- The loop --------------------------------------------------------------------

async function finish(
  caller: Caller,
  what: string,
  result: PromiseLike<unknown>,
): Promise<void> {
  let value: unknown;
  underWay++;
  try {
    value = await result;
  } catch (error) {
    return replyError(caller, error);
  } finally {
    underWay--;
  }
  replyValue(caller, what, value);
}

/** Runs the request in the reader. */
function serveRequest(): void {
  const caller = {
    box: reader.readU32() % BOXES,
    token: reader.readU32(),
    number: reader.readU32(),
  };
  try {
    const id = reader.readU32();
    const method = reader.readString();
    const args = link.decode(reader) as unknown[];
    const result = run(id, method, args);
    const what = `${objects.get(id)!.name}.${method}`;
    if (isThenable(result)) finish(caller, what, result);
    else replyValue(caller, what, result);
  } catch (error) {
    replyError(caller, error);
  }
}

function isCalled(): boolean {
  return !requests.empty || stateOf(control) !== OPEN || stopRequested();
}

function attemptCalled(): undefined | typeof PENDING_WEAK {
  return isCalled() ? undefined : PENDING_WEAK;
}

function hasRequest(): boolean {
  return !requests.empty;
}

async function serveManager(body: unknown): Promise<void> {
  const memory = await unpack(body as Parcel) as ManagerMemory;
  link = linkTo(memory);
  link.serverIs(identity().token);
  link.local = runLocally;
  control = new Int32Array(memory.control);
  requests = new Ring(memory.requests);
  objects.set(FACTORY, {
    target: factory,
    name: "Manager",
    methods: new Set(Object.keys(factory)),
  });
  const { words, at } = requests.items;
  let turn = performance.now();
  let served = 0;
  while (true) {
    if (requests.tryTake(reader) === TAKE_EMPTY) {
      if (stateOf(control) !== OPEN) return exitThread(0);
      checkStop();
      // What methods have left under way needs the event loop.
      const mayNap = underWay === 0 && !waiting.some(Boolean);
      if (
        spin(hasRequest, SPINS) ||
        mayNap && napSync(words, at, isCalled, NAP_MS)
      ) {
        if (performance.now() - turn < TURN_MS) continue;
      } else {
        await waitAsync("wait for calls", words, at, attemptCalled);
        turn = performance.now();
        continue;
      }
    } else {
      serveRequest();
      if ((++served & 15) !== 0 || performance.now() - turn < TURN_MS) continue;
    }
    await eventLoopTurn();
    turn = performance.now();
  }
}

if (import.meta.main) enterWorker(webPort(), serveManager);
