/**
 * Starting workers, against `new Worker`.
 *
 * @module
 */

import { Pool, Process } from "@parallel/multiprocessing";
import { MessagePool, MessageWorker } from "./_post_message.ts";
import { allMeet, bothMeetByHand } from "./_start.ts";
import { group } from "./_suite.ts";
import { square } from "./testdata/work.ts";

const KINDS = ["web", "node"] as const;

let ended: (() => unknown)[] = [];

/** Ends what a run has started. */
async function endAll(): Promise<void> {
  for (const end of ended) await end();
  ended = [];
}

function bareWorker(): MessageWorker {
  const worker = new MessageWorker();
  ended.push(() => worker.close());
  return worker;
}

await group("startup: 1 worker, until its first result", [
  {
    name: "bare Worker",
    run: async () => {
      const worker = bareWorker();
      await worker.ready;
      worker.post({ job: "call", id: 0, name: "square", value: 7 });
      return (await worker.next() as { value: number }).value;
    },
    after: endAll,
  },
  ...KINDS.map((worker) => ({
    name: `Process, worker: "${worker}"`,
    run: async () => {
      const process = new Process({ target: square, args: [7], worker })
        .start();
      ended.push(() => process.join());
      return await process.result;
    },
    after: endAll,
  })),
], { runs: 10 });

await group("startup: 2 workers, until the first results of both", [
  {
    name: "2 bare Workers",
    run: async () => {
      const pool = MessagePool.start(2);
      ended.push(() => pool.close());
      return await bothMeetByHand(pool);
    },
    after: endAll,
  },
  ...KINDS.map((worker) => ({
    name: `Pool(2), worker: "${worker}"`,
    run: async () => {
      const pool = new Pool({ processes: 2, worker });
      ended.push(() => {
        pool.terminate();
        return pool.join();
      });
      return await allMeet(pool);
    },
    after: endAll,
  })),
], { runs: 10 });
