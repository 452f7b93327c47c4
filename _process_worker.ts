/**
 * The root module of a `Process`'s worker: runs one function and ends.
 *
 * @module
 */

import { enterWorker, exitWithResult, type Port, webPort } from "./_worker.ts";
import { noteArrival } from "./_life.ts";
import { eventLoopTurn } from "./_park.ts";
import { type Parcel, unpack } from "./_parcel.ts";
import { resolveTarget } from "./_resolve.ts";
import type { TargetRef } from "./_target.ts";
// All that those import: see `_pool_worker.ts`.
import "./_codec_read.ts";
import "./_codec_read_exotic.ts";
import "./_codec_write.ts";
import "./_codec_write_exotic.ts";
import "./_handle.ts";
import "./_thrown.ts";
import "./errors.ts";

/** The body of the start message. */
export interface ProcessBody {
  target: TargetRef;
  args: Parcel;
}

async function runTarget(body: unknown): Promise<void> {
  const { target, args } = body as ProcessBody;
  const run = await resolveTarget(target);
  const values = await unpack(args, () => noteArrival(1));
  const result = await run(...values as unknown[]);
  await eventLoopTurn(); // a rejection that nobody handles is known then
  exitWithResult(result);
}

/** Serves one process over a connection. */
export function serve(port: Port): void {
  enterWorker(port, runTarget);
}

if (import.meta.main) serve(webPort());
