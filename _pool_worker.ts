/**
 * The root module of a pool's worker: takes tasks, runs them, sends replies.
 *
 * A worker that finds nothing to do spins, then sleeps for a moment in its
 * thread, which is the quickest way to be woken, then in its event loop, so that
 * timers and I/O its tasks left running go on.
 *
 * @module
 */

import { type AnyFunction, call, callWith, fold } from "./_calls.ts";
import { decode, Reader } from "./_codec_read.ts";
import { encode, encodeItems, Writer } from "./_codec_write.ts";
import {
  adoptMemory,
  type Arrived,
  forgetMemory,
  letGoOf,
  takeIn,
  takeSent,
  takeSentBack,
} from "./_handle.ts";
import {
  checkStop,
  isThreadStopped,
  noteArrival,
  stopRequested,
} from "./_life.ts";
import {
  eventLoopTurn,
  isThenable,
  napSync,
  PENDING,
  PENDING_WEAK,
  spin,
  TURN_MS,
  waitAsync,
  waitSync,
  wake,
} from "./_park.ts";
import {
  asRefusedResult,
  pack,
  type Parcel,
  transferOf,
  unpack,
} from "./_parcel.ts";
import {
  arrivalOf,
  BEGUN,
  BY_MESSAGE,
  CALL,
  CALL_ONE,
  callWorker,
  claimOf,
  DONE,
  DROPPED,
  FAILED,
  FINISHED,
  HAS_DEFINITION,
  HAS_MEMORIES,
  HEAD_BYTES,
  LEARNED,
  type LentMessage,
  MAP,
  MODE_MASK,
  type PoolBody,
  type PoolMessage,
  type PoolReply,
  QUEUED,
  READY,
  REPLIES,
  RETIRED,
  SLOTS,
  SPINNER,
  STARMAP,
  WANT_ARGUMENTS,
  WANT_FUNCTION,
  WORK,
} from "./_pool_protocol.ts";
import { Ring, TAKE_EMPTY } from "./_ring.ts";
import { resolveTarget } from "./_resolve.ts";
import type { TargetRef } from "./_target.ts";
import { packThrown } from "./_thrown.ts";
import {
  enterWorker,
  exitSilently,
  exitThread,
  type Port,
  post,
  webPort,
} from "./_worker.ts";
// All that those import, so that Deno gets to know every module with this one: one
// that it finds later keeps the worker half a millisecond longer from its start.
import "./_codec_read_exotic.ts";
import "./_codec_write_exotic.ts";
import "./_ring_frame.ts";
import "./errors.ts";

const { compareExchange, load, store } = Atomics;

/** How often an idle worker looks for work before it sleeps. */
const SPINS = 600;
/** How long an idle worker sleeps in its thread before it sleeps in its event loop. */
const NAP_MS = 2;
/** How many functions a worker remembers. */
const KNOWN_FUNCTIONS = 512;

/** The task being run. */
interface ClaimedTask {
  slot: number;
  generation: number;
  functionId: number;
  mode: number;
  /** {@linkcode LEARNED} if this task taught its function. */
  learned: number;
}

/** Stands for a task in what is said of none: READY and RETIRED. */
const NO_TASK: ClaimedTask = {
  slot: 0,
  generation: 0,
  functionId: 0,
  mode: 0,
  learned: 0,
};

/** The memories the pool has lent this worker. */
const borrowed = new Map<number, SharedArrayBuffer>();
/** Those who wait for memories that are on their way. */
const lookingOut: (() => void)[] = [];
const awaited = new Map<string, (message: PoolMessage) => void>();

let tasks: Ring;
let outbox: Ring;
let bell: Int32Array;
let claims: Int32Array;
/** Which of the pool's workers this is: the owner in its claims. */
let ownIndex: number;
/** The task claimed last. */
let held = 0;
let heldGeneration = 0;
const reader = new Reader();
const writer = new Writer();
const functions = new Map<number, AnyFunction>();
const shared = new Set<SharedArrayBuffer>();
const replyContext = { shared };

// -- Replies -------------------------------------------------------------------

function startReply(task: ClaimedTask, status: number, count: number): void {
  if (shared.size > 0) shared.clear();
  writer.reset();
  writer.writeHead(task.slot, task.generation, status | task.learned, count);
}

/** Sends the reply in the writer; `false` if it is too big for the ring. */
function sendReply(): boolean {
  try {
    if (!outbox.tryPut(writer)) {
      waitSync(
        "send a result",
        outbox.space.words,
        outbox.space.at,
        () => outbox.tryPut(writer) ? true : PENDING,
      );
    }
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
  wake(bell, REPLIES, 1);
  return true;
}

function replyByMessage(
  task: ClaimedTask,
  status: number,
  count: number,
  value: unknown,
): void {
  const reply: PoolReply = {
    slot: task.slot,
    generation: task.generation,
    status: status | task.learned,
    count,
    value: pack(value),
  };
  post({ type: "role", body: reply }, transferOf(reply.value));
  takeSent();
}

/** Sends one value, or a list of `count` values. */
function reply(
  task: ClaimedTask,
  status: number,
  count: number,
  value: unknown,
  isList: boolean,
): void {
  startReply(task, status, count);
  if (isList) encodeItems(writer, value as unknown[], 0, count, replyContext);
  else encode(writer, value, replyContext);
  if (shared.size > 0 || !sendReply()) {
    takeSentBack();
    replyByMessage(task, status, count, value);
  }
}

function replyValue(task: ClaimedTask, value: unknown): void {
  try {
    reply(task, DONE, 1, value, false);
  } catch (error) {
    replyUnsendable(task, error);
  }
}

function replyValues(task: ClaimedTask, values: unknown[]): void {
  try {
    reply(task, DONE, values.length, values, true);
  } catch (error) {
    replyUnsendable(task, error);
  }
}

function replyUnsendable(task: ClaimedTask, error: unknown): void {
  if (isThreadStopped(error)) throw error;
  takeSentBack();
  replyError(task, 0, asRefusedResult("the task", error));
}

function replyError(task: ClaimedTask, count: number, error: unknown): void {
  if (isThreadStopped(error)) throw error;
  reply(task, FAILED, count, packThrown(error), false);
}

function replyStatus(task: ClaimedTask, status: number): void {
  startReply(task, status, 0);
  sendReply();
}

/** Asks the pool for what could not travel in the ring. */
function ask(task: ClaimedTask, status: number): Promise<PoolMessage> {
  const answer = new Promise<PoolMessage>((resolve) => {
    awaited.set(`${task.slot}:${task.generation}:${status}`, resolve);
  });
  replyStatus(task, status);
  return answer;
}

function receive(message: unknown): void {
  const { lent, returned } = message as LentMessage;
  if (returned !== undefined) {
    for (const id of returned) {
      borrowed.delete(id);
    }
  }
  if (lent !== undefined) {
    for (const [id, memory] of lent) borrowed.set(id, memory);
    for (const look of lookingOut.splice(0)) look();
  }
  if (lent !== undefined || returned !== undefined) return;
  const { slot, generation, args } = message as PoolMessage;
  const status = args === undefined ? WANT_FUNCTION : WANT_ARGUMENTS;
  const key = `${slot}:${generation}:${status}`;
  awaited.get(key)?.(message as PoolMessage);
  awaited.delete(key);
}

// -- Running -------------------------------------------------------------------

function learn(task: ClaimedTask, run: AnyFunction): AnyFunction {
  if (functions.size >= KNOWN_FUNCTIONS) {
    for (const oldest of functions.keys()) {
      functions.delete(oldest);
      break;
    }
  }
  functions.set(task.functionId, run);
  task.learned = LEARNED;
  return run;
}

function readDefinition(length: number): TargetRef {
  const { bytes, position } = reader;
  return JSON.parse(
    new TextDecoder().decode(bytes.subarray(position, position + length)),
  );
}

/** Takes the frame in the reader and runs its task; a promise if that takes time. */
function runFrame(): Promise<void> | void {
  const { words } = reader;
  const task: ClaimedTask = {
    slot: words[0]!,
    generation: words[1]!,
    functionId: words[2]!,
    mode: words[3]!,
    learned: 0,
  };
  reader.position = HEAD_BYTES;
  let run: AnyFunction | PromiseLike<AnyFunction> | undefined = functions.get(
    task.functionId,
  );
  let args: unknown;
  let arrived: Arrived[] | undefined;
  try {
    let definition: TargetRef | undefined;
    if (task.mode & HAS_DEFINITION) {
      const length = reader.readU32();
      if (run === undefined) definition = readDefinition(length);
      reader.position += length;
    }
    const unusual = (task.mode & (BY_MESSAGE | HAS_MEMORIES)) !== 0;
    if (run !== undefined && !unusual) {
      return runTask(task, run, decode(reader));
    }
    if (unusual) noteArrival(BEGUN);
    // The reader's memory is only ours until the next take.
    args = task.mode & HAS_MEMORIES
      ? decodeWithMemories(task, copyOfReader(), arrived = [])
      : task.mode & BY_MESSAGE
      ? undefined
      : decode(reader);
    if (definition !== undefined) {
      run = resolveTarget(definition) as AnyFunction | Promise<AnyFunction>;
      if (typeof run === "function") learn(task, run);
      else run.then(undefined, () => {}); // it may fail before it is awaited
    }
    if (typeof run === "function" && !unusual) return runTask(task, run, args);
    return prepareTask(task, run, args, arrived ?? []);
  } catch (error) {
    if (arrived === undefined) return replyError(task, 0, error);
    // Not before all is here: the pool takes it that it is then.
    return dropArguments(args, arrived).then(() => replyError(task, 0, error));
  }
}

function copyOfReader(): Reader {
  const { bytes, position, end, blobs } = reader;
  return new Reader(bytes.slice(0, end), position, end, blobs);
}

/** Takes the counted handles of a task, and says that they have arrived. */
function arriving(
  { slot, generation }: ClaimedTask,
  arrived: Arrived[],
): (handles: Arrived[]) => boolean {
  return (handles) => {
    arrived.push(...handles);
    return noteArrival(arrivalOf(slot, generation));
  };
}

/** Decodes the arguments once all that they mention is here. */
async function decodeWithMemories(
  task: ClaimedTask,
  copy: Reader,
  arrived: Arrived[],
): Promise<unknown> {
  const { position, end } = copy;
  copy.position = end - 4;
  const count = copy.readU32();
  const list = copy.position = end - 4 - 8 * count;
  const ids: number[] = [];
  while (ids.length < count) ids.push(copy.readF64());
  copy.end = list;
  while (ids.some((id) => !borrowed.has(id))) {
    await new Promise<void>((resolve) => lookingOut.push(resolve));
  }
  return await takeIn(() => {
    copy.position = position;
    const memories = new Map(
      ids.map((id) => [id, adoptMemory(id, borrowed.get(id)!)]),
    );
    try {
      return decode(copy, { memories });
    } finally {
      for (const id of ids) forgetMemory(id);
    }
  }, arriving(task, arrived));
}

async function prepareTask(
  task: ClaimedTask,
  run: AnyFunction | PromiseLike<AnyFunction> | undefined,
  args: unknown,
  arrived: Arrived[],
): Promise<void> {
  try {
    args = await args; // never a thenable of the user's: it was decoded
    if (run === undefined) {
      const { definition } = await ask(task, WANT_FUNCTION);
      run = resolveTarget(definition!) as AnyFunction | Promise<AnyFunction>;
    }
    if (typeof run !== "function") run = await run;
    if (!functions.has(task.functionId)) learn(task, run);
    if (task.mode & BY_MESSAGE) {
      const parcel = (await ask(task, WANT_ARGUMENTS)).args!;
      args = await unpack(parcel, arriving(task, arrived));
    }
  } catch (error) {
    replyError(task, 0, error);
    return await dropArguments(args, arrived);
  }
  await runTask(task, run, args);
  letGoOf(arrived);
}

/** Lets go of what came with arguments that no function gets. */
async function dropArguments(args: unknown, arrived: Arrived[]): Promise<void> {
  try {
    await args; // they may still be on their way
  } catch {
    // Whoever called has been told of another error.
  }
  letGoOf(arrived);
}

function runTask(
  task: ClaimedTask,
  run: AnyFunction,
  args: unknown,
): Promise<void> | undefined {
  const mode = task.mode & MODE_MASK;
  if (mode > STARMAP) return runFold(task, run, args as unknown[], mode);
  if (mode > CALL) return runMany(task, run, args as unknown[], mode === MAP);
  try {
    const value = mode === CALL_ONE
      ? call(run, args)
      : callWith(run, args as unknown[]);
    if (isThenable(value)) return finish(task, value);
    replyValue(task, value);
  } catch (error) {
    replyError(task, 0, error);
  }
}

async function finish(
  task: ClaimedTask,
  value: PromiseLike<unknown>,
): Promise<void> {
  let result: unknown;
  try {
    result = await value;
  } catch (error) {
    return replyError(task, 0, error);
  }
  replyValue(task, result);
}

async function runFold(
  task: ClaimedTask,
  run: AnyFunction,
  items: unknown[],
  mode: number,
): Promise<void> {
  let values: unknown[];
  try {
    values = await fold(mode, run, items);
  } catch (error) {
    return replyError(task, 0, error);
  }
  replyValues(task, values);
}

function runMany(
  task: ClaimedTask,
  run: AnyFunction,
  items: unknown[],
  plain: boolean,
): Promise<void> | undefined {
  const values = new Array<unknown>(items.length);
  for (let i = 0; i < items.length; i++) {
    let value: unknown;
    try {
      value = plain
        ? call(run, items[i])
        : callWith(run, items[i] as unknown[]);
    } catch (error) {
      return void replyError(task, i, error);
    }
    if (isThenable(value)) {
      return runRest(task, run, items, plain, values, i, value);
    }
    values[i] = value;
  }
  replyValues(task, values);
}

async function runRest(
  task: ClaimedTask,
  run: AnyFunction,
  items: unknown[],
  plain: boolean,
  values: unknown[],
  i: number,
  first: PromiseLike<unknown>,
): Promise<void> {
  try {
    values[i] = await first;
    // Counted when it is done: what fails tells how many did not.
    for (i++; i < items.length; i++) {
      values[i] = await (plain
        ? call(run, items[i])
        : callWith(run, items[i] as unknown[]));
    }
  } catch (error) {
    return replyError(task, i, error);
  }
  replyValues(task, values);
}

// -- Claims ----------------------------------------------------------------------

function claim(slot: number, generation: number): boolean {
  if (load(claims, SLOTS + slot) !== generation) return false;
  const queued = claimOf(generation, QUEUED);
  const mine = claimOf(generation, ownIndex);
  if (compareExchange(claims, slot, queued, mine) !== queued) return false;
  if (stopRequested()) {
    // The pool looks for our claims after it has told us to stop: either it
    // has seen this one, or the task is still to be had.
    compareExchange(claims, slot, mine, queued);
    callWorker(bell);
    checkStop();
  }
  held = slot;
  heldGeneration = generation;
  return true;
}

/** Gives up the claim of a task that was answered; `false` if it was dropped before. */
function markFinished(): boolean {
  const mine = claimOf(heldGeneration, ownIndex);
  // The answer may have been read, and the slot be another task's.
  return compareExchange(claims, held, mine, mine | FINISHED) !==
    claimOf(heldGeneration, DROPPED);
}

// -- The loop --------------------------------------------------------------------

function hasWork(): boolean {
  return !tasks.empty || tasks.closed || stopRequested();
}

function attemptWork(): undefined | typeof PENDING_WEAK {
  return hasWork() ? undefined : PENDING_WEAK;
}

function attemptStop(): undefined | typeof PENDING_WEAK {
  return stopRequested() ? undefined : PENDING_WEAK;
}

/** Waits awake for a moment, if no other worker does; whether it was worth it. */
function stayAwake(): boolean {
  if (compareExchange(bell, SPINNER, 0, ownIndex) !== 0) return false;
  spin(hasTask, SPINS);
  store(bell, SPINNER, 0);
  return hasWork();
}

function hasTask(): boolean {
  return !tasks.empty;
}

async function servePool(body: unknown): Promise<void> {
  const { initializer, maxTasks, ...memory } = body as PoolBody;
  ownIndex = memory.index;
  tasks = new Ring(memory.tasks);
  outbox = new Ring(memory.outbox);
  bell = new Int32Array(memory.bell);
  claims = new Int32Array(memory.claims);
  if (initializer !== undefined) {
    try {
      await initialize(initializer);
    } catch (error) {
      return exitSilently(error);
    }
  }
  replyStatus(NO_TASK, READY);
  let done = 0;
  let turn = performance.now();
  while (true) {
    if (tasks.tryTakeIf(reader, claim) === TAKE_EMPTY) {
      if (tasks.closed && tasks.empty) return exitThread(0);
      checkStop();
      const awake = done > 0 && stayAwake();
      if (!awake && !napSync(bell, WORK, hasWork, NAP_MS)) {
        await waitAsync("wait for tasks", bell, WORK, attemptWork);
        turn = performance.now();
      }
      continue;
    }
    if (!tasks.empty) callWorker(bell);
    const running = runFrame();
    if (running !== undefined) {
      await running;
      turn = performance.now();
    }
    if (!markFinished()) {
      await waitAsync("be stopped", bell, WORK, attemptStop);
      checkStop();
    }
    if (++done === maxTasks) {
      replyStatus(NO_TASK, RETIRED);
      return exitThread(0);
    }
    if ((done & 15) === 0 && performance.now() - turn > TURN_MS) {
      await eventLoopTurn();
      turn = performance.now();
    }
  }
}

async function initialize(
  initializer: { target: TargetRef; args: Parcel },
): Promise<void> {
  const run = await resolveTarget(initializer.target);
  const args = await unpack(initializer.args, () => noteArrival(BEGUN));
  await run(...args as unknown[]);
}

/** Serves one pool over a connection. */
export function serve(port: Port): void {
  enterWorker(port, servePool, receive);
}

if (import.meta.main) serve(webPort());
