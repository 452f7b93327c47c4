/**
 * Leashes: how the real end of a thread is noticed where its life lock does not show it.
 *
 * A leash is one end of a channel whose other end lies with the thread, in its queue of messages
 * or among its objects. Nobody closes that one; it goes when Deno drops what the thread had, after
 * the last of its code has run, and then this one closes.
 *
 * A life lock is cheaper, and shows the same of a Web Worker. Of a node worker that is terminated
 * Deno frees the locks at once, though a call of the system that it is in has still to return, and
 * what it then does before it stops is done beside the new owner of its locks.
 *
 * @module
 */

/** The part of `node:worker_threads` used here. */
interface Ports {
  MessageChannel: new () => MessageChannel;
  receiveMessageOnPort(port: MessagePort): { message: MessagePort };
}

/** What puts a thread on a leash. */
export interface LeashMessage {
  /** The ends that it holds without knowing. */
  leashes: MessagePort[];
}

/**
 * Puts a thread on two leashes.
 *
 * @param post Posts to the thread, which has not ended as far as its Worker object knows.
 * @returns One for {@linkcode onSlack} here, and one for another thread.
 */
export function putOnLeash(
  post: (message: unknown, transfer: Transferable[]) => void,
): [MessagePort, MessagePort] {
  const first = new MessageChannel();
  const second = new MessageChannel();
  const leashes = [first.port2, second.port2];
  const message: LeashMessage = { leashes };
  post(message, leashes);
  return [first.port1, second.port1];
}

/**
 * Calls a function when a thread has really ended. Does not keep the program alive.
 *
 * @param leash What {@linkcode putOnLeash} returned; it cannot be used otherwise after this.
 */
export function onSlack(leash: MessagePort, run: () => void): void {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): Ports };
  };
  const { MessageChannel, receiveMessageOnPort } = process.getBuiltinModule(
    "node:worker_threads",
  );
  // Deno tells of the end of those ports only that have come through its node module.
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(leash, [leash]);
  const port = receiveMessageOnPort(port2).message;
  port1.close();
  port.addEventListener("close", run);
  port.start();
  (port as unknown as { unref(): void }).unref();
}
