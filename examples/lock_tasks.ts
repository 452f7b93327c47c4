import * as mp from "@parallel/multiprocessing";

function task(lock: mp.Lock, n: number) {
  using _held = lock.acquireSync();
  console.log(`Task ${n}`);
}

const lock = new mp.Lock();
const processes = [1, 2, 3].map((n) =>
  new mp.Process({ target: task, args: [lock, n] })
);

for (const p of processes) p.start();
for (const p of processes) await p.join();
