/**
 * Items through a queue, against `postMessage`.
 *
 * @module
 */

import { Queue } from "@parallel/multiprocessing";
import { MessageEnds, QueueEnds } from "./_queue_ends.ts";
import { group } from "./_suite.ts";
import {
  idOf,
  type Kind,
  makeItem,
  type SmallObject,
} from "./testdata/items.ts";

for (
  const [kind, count] of [["integers", 20_000], [
    "100-byte objects",
    5_000,
  ]] as [Kind, number][]
) {
  const amount = `${count} ${kind}`;

  // -- seq --------------------------------------------------------------------

  const list: (number | SmallObject)[] = [];
  const queue = new Queue<number | SmallObject>();
  await group(`seq: ${amount}, put and got in one thread`, [
    {
      name: "serial, an array",
      run: () => {
        let total = 0;
        for (let i = 0; i < count; i++) {
          list.push(makeItem(kind, i));
          total += idOf(list.shift()!);
        }
        return total;
      },
    },
    {
      name: "tryPut, tryGet",
      run: () => {
        let total = 0;
        for (let i = 0; i < count; i++) {
          queue.tryPut(makeItem(kind, i));
          const got = queue.tryGet();
          if (got.state === "ok") total += idOf(got.value);
        }
        return total;
      },
    },
    {
      name: "putSync, getSync",
      run: () => {
        let total = 0;
        for (let i = 0; i < count; i++) {
          queue.putSync(makeItem(kind, i));
          total += idOf(queue.getSync());
        }
        return total;
      },
    },
    {
      name: "put, get",
      run: async () => {
        let total = 0;
        for (let i = 0; i < count; i++) {
          await queue.put(makeItem(kind, i));
          total += idOf(await queue.get());
        }
        return total;
      },
    },
  ], { runs: 10 });

  // -- spsc -------------------------------------------------------------------

  const fromOne = await MessageEnds.start(kind, 1, 0);
  const oneProducer = new QueueEnds(kind, 1, 0);
  await group(`spsc: ${amount}, worker to main`, [
    { name: "postMessage", run: () => fromOne.take(count) },
    {
      name: "putSync, get",
      run: () => {
        oneProducer.put(count);
        return oneProducer.take(count);
      },
    },
    {
      name: "putSync, getSync",
      run: () => {
        oneProducer.put(count);
        return oneProducer.takeSync(count);
      },
    },
  ], { runs: 10 });

  const toOne = await MessageEnds.start(kind, 0, 1);
  const oneConsumer = new QueueEnds(kind, 0, 1);
  await group(`spsc: ${amount}, main to worker`, [
    { name: "postMessage", run: () => toOne.give(count) },
    {
      name: "put, getSync",
      run: async () => {
        oneConsumer.get(count);
        for (let i = 0; i < count; i++) {
          await oneConsumer.items.put(makeItem(kind, i));
        }
        return await oneConsumer.sum();
      },
    },
    {
      name: "putSync, getSync",
      run: async () => {
        oneConsumer.get(count);
        for (let i = 0; i < count; i++) {
          oneConsumer.items.putSync(makeItem(kind, i));
        }
        return await oneConsumer.sum();
      },
    },
  ], { runs: 10 });

  // -- mpsc -------------------------------------------------------------------

  const fromTwo = await MessageEnds.start(kind, 2, 0);
  const twoProducers = new QueueEnds(kind, 2, 0);
  await group(`mpsc: 2 x ${amount}, 2 workers to main`, [
    { name: "postMessage", run: () => fromTwo.take(count) },
    {
      name: "putSync, get",
      run: () => {
        twoProducers.put(count);
        return twoProducers.take(2 * count);
      },
    },
    {
      name: "putSync, getSync",
      run: () => {
        twoProducers.put(count);
        return twoProducers.takeSync(2 * count);
      },
    },
  ], { runs: 10 });

  // -- mpmc -------------------------------------------------------------------

  const ports = await MessageEnds.start(kind, 2, 2);
  const both = new QueueEnds(kind, 2, 2);
  await group(`mpmc: 2 x ${amount}, 2 workers to 2 workers`, [
    { name: "postMessage, a port for each two", run: () => ports.pass(count) },
    {
      name: "putSync, getSync",
      run: () => {
        both.get(count);
        both.put(count);
        return both.sum();
      },
    },
  ], { runs: 10 });

  addEventListener("unload", () => {
    for (const ends of [fromOne, toOne, fromTwo, ports]) ends.close();
    for (const ends of [oneProducer, oneConsumer, twoProducers, both]) {
      ends.close();
    }
  });
}
