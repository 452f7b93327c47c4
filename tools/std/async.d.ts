// Types of the functions that `async.ts` takes from npm. A function missing here
// is a type error in a test: add its line.

export declare function abortable<T>(
  p: Promise<T>,
  signal: AbortSignal,
): Promise<T>;
export declare function abortable<T>(
  p: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T>;

export interface DeadlineOptions {
  signal?: AbortSignal;
}
export declare function deadline<T>(
  p: Promise<T>,
  ms: number,
  options?: DeadlineOptions,
): Promise<T>;

export interface DebouncedFunction<T extends unknown[]> {
  (...args: T): void;
  clear(): void;
  flush(): void;
  readonly pending: boolean;
}
export declare function debounce<T extends unknown[]>(
  fn: (this: DebouncedFunction<T>, ...args: T) => void,
  wait: number,
): DebouncedFunction<T>;

export interface DelayOptions {
  signal?: AbortSignal;
  persistent?: boolean;
}
export declare function delay(
  ms: number,
  options?: DelayOptions,
): Promise<void>;

export declare function pooledMap<T, R>(
  poolLimit: number,
  array: Iterable<T> | AsyncIterable<T>,
  iteratorFn: (data: T) => Promise<R>,
): AsyncIterableIterator<R>;

export interface RetryOptions {
  multiplier?: number;
  maxTimeout?: number;
  maxAttempts?: number;
  minTimeout?: number;
  jitter?: number;
  signal?: AbortSignal;
}
export declare function retry<T>(
  fn: (() => Promise<T>) | (() => T),
  options?: RetryOptions,
): Promise<T>;

export declare function tee<T>(
  iterable: AsyncIterable<T>,
): [AsyncIterable<T>, AsyncIterable<T>];
