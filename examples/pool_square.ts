import * as mp from "@parallel/multiprocessing";

function square(n: number) {
  return n * n;
}

await using pool = new mp.Pool(4);
console.log(await pool.map(square, [1, 2, 3, 4]));
