/** What users write, without a type argument or an annotation that is not needed. */
import { assertEquals } from "@std/assert";
import * as mp from "../mod.ts";
import { within } from "./_within.ts";

const add = (a: number, b: number) => a + b;

Deno.test("Types of items and arguments are inferred, and wrong ones are errors", async () => {
  await using pool = new mp.Pool(1);
  const pairs = [[1, 2], [3, 4]] as const;

  const doubled: number[] = await pool.map((n) => n * 2, [1, 2]);
  const added: number[] = await pool.starmap(add, pairs);
  const inferred: number = await pool.apply((a, b) => a + b, [1, 2]);
  const constant: number = await pool.apply(add, pairs[1]);
  const process = new mp.Process({ target: add, args: pairs[0] }).start();
  const result: number = await within(process.result);
  assertEquals([doubled, added, inferred, constant, result], [
    [2, 4],
    [3, 7],
    3,
    7,
    3,
  ]);

  // @ts-expect-error: not numbers
  await pool.apply(add, ["a", "b"]);
  // @ts-expect-error: too few
  await pool.starmap(add, [[1]]);
  // @ts-expect-error: not numbers
  new mp.Process({ target: add, args: ["a", "b"] });
});

Deno.test("Types of pmap() and its like are inferred as those of a pool are", async () => {
  const mapped: number[] = await mp.pmap((n) => n * 2, [1, 2]);
  const found: number[] = await mp.pfilter((n) => n > 1, [1, 2]);
  await mp.pforEach((n) => n * 2, [1, 2]);
  const sum: number = await mp.preduce((a, b) => a + b, [1, 2]);
  const text: string = await mp.preduce((a, b) => a + b, ["a"], "> ");
  assertEquals([mapped, found, sum, text], [[2, 4], [2], 3, "> a"]);

  // @ts-expect-error: not strings
  await mp.pmap((text: string) => text, [1]);
  // @ts-expect-error: no number
  await mp.preduce(add, [1], "x");
});

Deno.test("Types of handles need no type arguments", async () => {
  function sizes(
    queue: mp.Queue,
    joinable: mp.JoinableQueue,
    simple: mp.SimpleQueue,
    connection: mp.Connection,
    value: mp.SharedValue,
    array: mp.SharedArray,
  ): number[] {
    const empty = Number(simple.empty()) + Number(connection.closed);
    return [queue.size, joinable.size, empty, value.value, array.length];
  }
  const handles = [
    new mp.Queue<string>(),
    new mp.JoinableQueue<number>(),
    new mp.SimpleQueue<{ a: number }>(),
    mp.pipe<string, number>()[0],
    new mp.SharedValue("i32", 5),
    new mp.SharedArray("f64", 3),
  ] as const;
  assertEquals(sizes(...handles), [0, 0, 1, 5, 3]);

  function start(options: mp.ProcessOptions): mp.Process {
    return new mp.Process(options).start();
  }
  const target = (queue: mp.Queue<number>) => queue.putSync(1);
  await within(start({ target, args: [new mp.Queue()] }).result);
  const p = new mp.Process({ target, args: [new mp.Queue()] });
  assertEquals(p.exitCode, null);
});
