/**
 * All models, as they are and with each of the seeded bugs.
 *
 * @module
 */

import { conditionModel } from "./condition.ts";
import type { Model } from "./model.ts";
import { lockModel } from "./lock.ts";
import { parkModel } from "./park.ts";
import { poolModel } from "./pool.ts";
import { queueModel } from "./queue.ts";

/** A model to be explored. */
export interface Entry {
  make: () => Model;
  /** Whether it is small enough for the test suite. */
  quick: boolean;
  /** The bug that was seeded. */
  bug?: string;
}

function entries(quick: boolean, makers: (() => Model)[]): Entry[] {
  return makers.map((make) => ({ make, quick }));
}

/** What must be found to be fine. */
export const MODELS: Entry[] = [
  ...entries(true, [
    () => parkModel(),
    () => lockModel({ scenario: "blocking", deaths: 1 }),
    () => lockModel({ scenario: "giving up" }),
    () => lockModel({ scenario: "released elsewhere" }),
    () => lockModel({ scenario: "released elsewhere", deaths: 1 }),
    () => lockModel({ scenario: "released by mistake" }),
    () => conditionModel({ waiters: 2 }),
    () => conditionModel({ waiters: 2, deaths: 1 }),
    () => queueModel({ scenario: "three producers" }),
    () => queueModel({ scenario: "three producers", deaths: 1 }),
    () => queueModel({ scenario: "two producers" }),
    () => queueModel({ scenario: "two consumers", items: 1 }),
    () => poolModel({ scenario: "quiet", slots: 2 }),
    () => poolModel({ scenario: "tasks that meet", slots: 2 }),
    () => poolModel({ scenario: "a worker killed", tasks: 1 }),
    () => poolModel({ scenario: "a worker stopped", tasks: 1 }),
    () => poolModel({ scenario: "a worker terminated", tasks: 1 }),
    () => poolModel({ scenario: "a task cancelled" }),
  ]),
  ...entries(false, [
    () => parkModel({ deaths: 1 }),
    () => lockModel({ scenario: "blocking" }),
    () => lockModel({ scenario: "giving up", deaths: 1 }),
    () => conditionModel(),
    () => conditionModel({ waiters: 2, deaths: 2 }),
    () => conditionModel({ deaths: 1 }),
    () => queueModel({ scenario: "two producers", deaths: 1 }),
    () => queueModel({ scenario: "two consumers" }),
    () => queueModel({ scenario: "two consumers", limit: "bytes" }),
    () => queueModel({ scenario: "two consumers", items: 1, deaths: 1 }),
    () => poolModel({ scenario: "a worker killed" }),
    () => poolModel({ scenario: "a worker killed", slots: 2 }),
    () => poolModel({ scenario: "a worker stopped" }),
    () => poolModel({ scenario: "a worker terminated" }),
    () => poolModel({ scenario: "a task cancelled", slots: 2 }),
  ]),
];

function bugs<Options>(
  quick: boolean,
  make: (options?: Options) => Model,
  ...list: NoInfer<Options & { mutation: string }>[]
): Entry[] {
  return list.map((options) => ({
    make: () => make(options),
    quick,
    bug: options.mutation,
  }));
}

/** What must be found to be wrong. */
export const MUTATIONS: Entry[] = [
  ...bugs(
    true,
    parkModel,
    { mutation: "looks before publishing" },
    { mutation: "reads SEQ late" },
    { mutation: "raises WAITERS late" },
    { mutation: "aborted keeps wake-up" },
    { mutation: "stopped keeps wake-up" },
  ),
  ...bugs(
    true,
    lockModel,
    { mutation: "looks before releasing" },
    { mutation: "clears WAKING late" },
    { mutation: "leaves WAKING" },
    { mutation: "takes HANDED back in silence", scenario: "giving up" },
    { mutation: "takes over by store", deaths: 1 },
    { mutation: "shares SESSION", scenario: "released by mistake" },
  ),
  ...bugs(
    true,
    conditionModel,
    { mutation: "enters late", waiters: 2 },
    { mutation: "gives up by store", waiters: 2 },
    { mutation: "chooses by store", waiters: 2 },
    { mutation: "keeps what the dead had", waiters: 2, deaths: 1 },
    { mutation: "forgets the horizon", waiters: 2, deaths: 1 },
  ),
  ...bugs(false, conditionModel, { mutation: "passes on twice", deaths: 1 }),
  ...bugs(
    true,
    queueModel,
    { mutation: "looks before committing", scenario: "two producers" },
    { mutation: "drains too little", scenario: "two producers" },
    { mutation: "closes without the lock", scenario: "two producers" },
    { mutation: "closes for one", items: 1 },
    { mutation: "does not contend", scenario: "three producers" },
    { mutation: "takes it uncontended", scenario: "three producers" },
    { mutation: "does not repair", scenario: "three producers", deaths: 1 },
    { mutation: "takes over by store", scenario: "three producers", deaths: 1 },
    { mutation: "commits before reading", limit: "bytes" },
  ),
  ...bugs(
    true,
    poolModel,
    { mutation: "clears SPINNER late" },
    {
      mutation: "does not call the next",
      scenario: "tasks that meet",
      slots: 2,
    },
    {
      mutation: "commits before claiming",
      scenario: "a worker killed",
      tasks: 1,
    },
    {
      mutation: "leaves the dead SPINNER",
      scenario: "a worker killed",
      tasks: 1,
    },
    {
      mutation: "does not fail the claimed",
      scenario: "a worker killed",
      tasks: 1,
    },
    { mutation: "leaves the claim", scenario: "a worker stopped", tasks: 1 },
    { mutation: "leaves the claim", scenario: "a task cancelled", tasks: 1 },
    { mutation: "looks once", scenario: "a worker terminated", tasks: 1 },
    { mutation: "does not finish", scenario: "a task cancelled", slots: 2 },
    { mutation: "reuses the slot early", scenario: "a task cancelled" },
    { mutation: "keeps the generation", scenario: "a task cancelled" },
  ),
  ...bugs(false, poolModel, {
    mutation: "does not hand back",
    scenario: "a worker stopped",
    tasks: 1,
  }),
];
