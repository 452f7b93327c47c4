// A program whose process starts processes and a pool, then ends.

import { Pool } from "../../pool.ts";
import { Process } from "../../process.ts";

export async function parent(): Promise<void> {
  new Process({ target: endless, daemon: false }).start();
  new Process({ target: endless, daemon: true }).start();
  const pool = new Pool(1);
  await pool.apply(() => 1);
  pool.apply(endless);
  console.log("parent ends");
}

export async function endless(): Promise<void> {
  setInterval(() => {}, 1000);
  await new Promise(() => {});
}

if (import.meta.main) {
  const process = new Process({ target: parent }).start();
  await process.join();
  console.log(process.exitCode);
}
