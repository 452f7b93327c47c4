/**
 * Values to bytes and back, as structured clone would copy them.
 *
 * The platform's own serializer costs 15 us a message and knows neither handles nor memory that the
 * receiver already has; this one costs well under a microsecond for a small object. The fidelity is
 * structured clone's: what it would deliver arrives, what it would refuse is refused in the sender.
 * The exceptions are objects whose content JavaScript cannot read at once (`Blob`, `CryptoKey`,
 * `WebAssembly.Module`): they are refused too.
 *
 * A message is a head and any number of blobs. The head is one value: a tag byte and what the tag
 * asks for. All numbers are little endian; all but those of `1e` are unaligned.
 *
 * | tag | value | followed by |
 * | --- | --- | --- |
 * | `80` to `ff` | integer 0 to 127 | |
 * | `01` `02` | first byte of a message: its objects are a tree; a graph | the value |
 * | `03` `04` `05` `06` | `undefined` `null` `false` `true` | |
 * | `07` `08` | integer; number | `i32`; `f64` |
 * | `09` `0a` `0b` | string, Latin-1; UTF-16; UTF-8 | `u8 n`, bytes; `u32 n`, units; `u32 n`, bytes |
 * | `0c` `0d` `0e` | BigInt: small; positive; negative | `i64`; hexadecimal string |
 * | `10` | an object met before | `u32` its number |
 * | `11` `12` | plain object: empty; pairs | ; `u32 n`, n times string and value |
 * | `13` | plain object of a new shape | `u16 size, u32 hash, u8 n`, n strings, n values |
 * | `14` `15` | plain object of a shape met before | `u8`/`u32` number of the shape, n values |
 * | `18` `19` `1a` | array: empty; short; long | ; `u8 n`, `u32 n`, n values |
 * | `1b` `1c` | array of integers; of numbers | `u32 n`, n times `i32`; `f64` |
 * | `1e` | long array of finite numbers | `u32 n`, zeros up to a multiple of 8, n times `f64` |
 * | `1d` | array with holes or names | `u32 length, u32 n, u32 m`, n times `u32` and value, m pairs |
 * | `20` `21` | Date; RegExp | `f64`; two strings |
 * | `22` `23` | Map; Set | `u32 n`, 2n; n values |
 * | `24` | boxed primitive | value |
 * | `25` | view | `u8` kind, `f64` offset, `f64` length, its buffer |
 * | `26` `27` | ArrayBuffer: here; in a blob | `u32 n`, bytes; `u32` number of the blob |
 * | `28` `29` | the same, resizable | and `f64` its maximum |
 * | `2a` `2b` | shared memory; handle | `f64` id; string, `u32 n`, n values |
 * | `2c` | moved object | `u32` its index |
 * | `2d` `2e` | error; DOMException | see `writeError` |
 *
 * Objects are numbered in the order of their first appearance, on both sides alike. Only a message
 * in which one appears twice is a graph, so the reader of a tree keeps no table and may make an
 * object after its properties.
 *
 * The key lists of shapes are remembered per thread on both sides, for speed only: each message
 * spells them out once, so any thread can read it.
 *
 * What workers load as they start imports the two halves by themselves: a module less.
 *
 * @module
 */

export {
  encode,
  type EncodeContext,
  encodeItems,
  Writer,
} from "./_codec_write.ts";
export { decode, type DecodeContext, Reader } from "./_codec_read.ts";
