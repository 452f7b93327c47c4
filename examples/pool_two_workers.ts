import * as mp from "@parallel/multiprocessing";

async function task(name: string) {
  console.log(`Task ${name} started`);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  console.log(`Task ${name} finished`);
}

await using pool = new mp.Pool(2);
await pool.map(task, ["A", "B", "C", "D"]);
