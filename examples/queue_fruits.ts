import * as mp from "@parallel/multiprocessing";

function addFruits(queue: mp.Queue<string>) {
  for (const fruit of ["Apple", "Orange", "Banana"]) {
    queue.putSync(fruit);
  }
}

const queue = new mp.Queue<string>();
const p = new mp.Process({ target: addFruits, args: [queue] });
p.start();
await p.join();

while (!queue.empty()) {
  console.log(await queue.get());
}
