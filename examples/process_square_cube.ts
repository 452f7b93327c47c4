import * as mp from "@parallel/multiprocessing";

function square(n: number) {
  console.log(`The square of ${n} is ${n * n}`);
}

function cube(n: number) {
  console.log(`The cube of ${n} is ${n * n * n}`);
}

const p1 = new mp.Process({ target: square, args: [4] });
const p2 = new mp.Process({ target: cube, args: [4] });

p1.start();
p2.start();

await p1.join();
await p2.join();

console.log("Both processes are completed.");
