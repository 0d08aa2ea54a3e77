/**
 * Octets that come in pieces and are taken in others. Time and memory grow with the octets, however small the pieces
 * are: a peer that sends one at a time gains nothing by it.
 *
 * @module
 */

const FIRST_ROOM = 1024;

/** Holds what has come and has not been taken. It is not bounded: who fills it compares {@linkcode length}. */
export class OctetBuffer {
  #room = new Uint8Array(FIRST_ROOM);
  #start = 0;
  #end = 0;
  /** Octets from the start that {@linkcode takeUntil} has searched in vain. */
  #searched = 0;

  /** Octets that are held. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** The octet at this place; `undefined` if it has not come yet. */
  at(index: number): number | undefined {
    return index < this.length ? this.#room[this.#start + index] : undefined;
  }

  /** Where the next octets go, at least one; {@linkcode added} says how many have been put there. */
  free(): Uint8Array {
    if (this.#end === this.#room.length) this.#makeRoom(1);
    return this.#room.subarray(this.#end);
  }

  /** So many octets have been written to {@linkcode free}. */
  added(octets: number): void {
    this.#end += octets;
  }

  /** Adds octets, which are copied. */
  push(octets: Uint8Array): void {
    if (this.#end + octets.length > this.#room.length) this.#makeRoom(octets.length);
    this.#room.set(octets, this.#end);
    this.#end += octets.length;
  }

  /**
   * What comes before this delimiter, which is taken with it; `undefined` if that does not end within `most` octets, or
   * has not come yet. Then no other delimiter may be asked for next: what was searched is not searched again.
   */
  takeUntil(delimiter: Uint8Array, most: number): Uint8Array<ArrayBuffer> | undefined {
    const held = this.#room.subarray(this.#start, Math.min(this.#end, this.#start + most));
    const last = delimiter.length - 1;
    // The delimiter may have come in pieces.
    for (let at = Math.max(this.#searched, last);; at++) {
      at = held.indexOf(delimiter[last] as number, at);
      if (at < 0) break;
      const begin = at - last;
      if (delimiter.every((octet, index) => held[begin + index] === octet)) {
        this.#drop(at + 1);
        return held.slice(0, begin);
      }
    }
    this.#searched = held.length;
    return undefined;
  }

  /** The next octets; `undefined` if there are not so many yet. */
  take(octets: number): Uint8Array<ArrayBuffer> | undefined {
    if (octets > this.length) return undefined;
    const taken = this.#room.slice(this.#start, this.#start + octets);
    this.#drop(octets);
    return taken;
  }

  #drop(octets: number): void {
    this.#start += octets;
    this.#searched = 0;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }

  /** Moves what is held to the front only where that makes much room, and doubles the room otherwise. */
  #makeRoom(octets: number): void {
    const held = this.length;
    const needed = held + octets;
    const room = needed > this.#room.length / 2
      ? new Uint8Array(Math.max(2 * this.#room.length, 2 * needed))
      : this.#room;
    room.set(this.#room.subarray(this.#start, this.#end));
    this.#room = room;
    this.#start = 0;
    this.#end = held;
  }
}
