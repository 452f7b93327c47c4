// Types of the functions that `async.ts` takes from npm. A function missing here
// is a type error in a test: add its line here, and there.

export interface DelayOptions {
  signal?: AbortSignal;
  persistent?: boolean;
}
export declare function delay(
  ms: number,
  options?: DelayOptions,
): Promise<void>;
