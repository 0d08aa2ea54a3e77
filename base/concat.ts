/**
 * Concatenates bytes.
 *
 * @module
 */

/** All pieces in one new array. */
export function concat(...pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  concatInto(whole, pieces);
  return whole;
}

/** Copies all pieces to the beginning of `buffer`, which must have room for them. */
export function concatInto(buffer: Uint8Array, pieces: readonly Uint8Array[]): void {
  let at = 0;
  for (const piece of pieces) {
    buffer.set(piece, at);
    at += piece.length;
  }
}
