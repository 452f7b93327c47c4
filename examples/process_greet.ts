import * as mp from "@parallel/multiprocessing";

function greet() {
  console.log("Hello! Welcome to Deno Multiprocessing!");
}

const p = new mp.Process({ target: greet });
p.start();
await p.join();
