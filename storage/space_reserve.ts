/**
 * Keeps room free: `min_free_space`, and {@linkcode reservedFiles}. Data received and not on the disk yet counts as if
 * it were, and so do the copies to be made of it, so that no number of concurrent messages uses up the reserve.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { Seldom } from "../base/seldom.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { type FreeRoom, freeRoom, reservedFiles } from "./free_space.ts";
import type { SharedClaims } from "./shared_claims.ts";

/** How long a reading of the free space is used, in milliseconds, */
const REREAD_AFTER = 1000;
/** and how many octets may come meanwhile, which are counted: on some file systems a reading takes a millisecond. */
const REREAD_AT = 16 * 1024 * 1024;
/** What a file takes besides its octets: the last block, and the fields on top of a message. */
const FILE_COST = 8 * 1024;

/** What a {@linkcode SpaceReserve} needs. */
export interface SpaceReserveOptions {
  /** Directories that are written into. Those on one file system share its room. */
  readonly paths: () => readonly string[];
  /** Octets to keep free on each file system; called each time, since a reload may change it. */
  readonly minFreeSpace: () => number;
  /** Measures the age of a reading. */
  readonly clock: Clock;
  /** Takes `storage.low_space` and `storage.space_unknown`. */
  readonly logger: Logger;
  /** By default {@linkcode freeRoom}. */
  readonly room?: (path: string) => Promise<FreeRoom>;
  /** Tells which paths are on one file system; by default the device's number. */
  readonly device?: (path: string) => Promise<unknown>;
  /** The claims of other threads on the same paths; absent: there are none. */
  readonly shared?: SharedClaims;
}

/** The room that a message takes, or will take. */
export interface SpaceNeeds {
  /** Octets in each of the paths. */
  readonly octets: readonly number[];
  /** Files in each of the paths, each of which takes some more octets. */
  readonly files: readonly number[];
}

/** A file system. */
interface Volume {
  /** A path on it. */
  readonly path: string;
  /** Octets and files that are free and unclaimed. */
  octets: number;
  files: number;
  readonly minFiles: number;
}

/** Tracks the free space of some directories. */
export class SpaceReserve {
  readonly #options: SpaceReserveOptions;
  readonly #claims = new Set<SpaceClaim>();
  /** The file system of each path, and each file system once; empty before the first reading. */
  #volumeOf: readonly Volume[] = [];
  #volumes: readonly Volume[] = [];
  #readAt = -Infinity;
  /** What other threads had stored when the room was read. */
  #mark = new Int32Array();
  readonly #warning: Seldom;
  /** Octets claimed since. */
  #claimed = 0;
  #reading: Promise<void> | undefined;

  /** Does not touch the disk. */
  constructor(options: SpaceReserveOptions) {
    this.#options = options;
    this.#warning = new Seldom(options.clock);
  }

  /**
   * Whether there is room for what is announced, beside all that is claimed; if not, that is logged. Claims nothing.
   * @param session joins the log lines of one client
   */
  has(needs: SpaceNeeds, session: string): Promise<boolean> | boolean {
    if (this.#isFresh() && this.#lack(needs) === undefined) return true;
    return this.#hasAfterReading(needs, { session, octets: needs.octets });
  }

  /**
   * The claim of one message, where there is room for what is announced; else nothing. It has the files at first, and
   * grows with the message: a client that announces much and sends nothing takes no room from others. Dispose it when
   * the message is stored or dropped.
   */
  claim(needs: SpaceNeeds, session: string): Promise<SpaceClaim | undefined> | SpaceClaim {
    const hasRoom = this.has(needs, session);
    if (hasRoom === true) return this.#claim(needs, session);
    return Promise.resolve(hasRoom).then((has) => has ? this.#claim(needs, session) : undefined);
  }

  #claim({ files }: SpaceNeeds, session: string): SpaceClaim {
    const claim = new SpaceClaim(this, { session, files });
    this.#claims.add(claim);
    for (const path of files.keys()) {
      const room = { octets: claim.octets[path] ?? 0, files: claim.files[path] ?? 0 };
      this.#take(path, room);
      this.#options.shared?.claim(path, room);
    }
    return claim;
  }

  /** @ignore Takes some room, and gives all back that is not written yet where that does not leave the reserve. */
  grow(
    claim: SpaceClaim,
    { path, octets }: { readonly path: number; readonly octets: number },
  ): Promise<boolean> | boolean {
    this.#take(path, { octets, files: 0 });
    this.#options.shared?.claim(path, { octets, files: 0 });
    this.#claimed += octets;
    const volume = this.#volumeOf[path];
    if (this.#claimed < REREAD_AT && volume !== undefined && !this.#isLow(volume)) return true;
    return this.#hasAfterReading(undefined, claim);
  }

  #giveBack(claim: SpaceClaim): void {
    for (const [path, octets] of claim.octets.entries()) {
      const written = Math.min(claim.written(path), octets);
      this.#take(path, { octets: written - octets, files: 0 });
      this.#options.shared?.claim(path, { octets: written - octets, files: 0 });
      claim.octets[path] = written;
    }
  }

  /** @ignore Ends a claim: the part that is not on the disk is free again. */
  end(claim: SpaceClaim, stored: SpaceNeeds): void {
    if (!this.#claims.delete(claim)) return;
    const { shared } = this.#options;
    for (const path of claim.octets.keys()) {
      const { octets = 0, files = 0 } = { octets: claim.octets[path], files: claim.files[path] };
      const [octetsStored, filesStored] = [stored.octets[path] ?? 0, stored.files[path] ?? 0];
      this.#take(path, { octets: octetsStored - octets, files: filesStored - files });
      if (shared === undefined) continue;
      // In this order, so that no other thread misses it.
      shared.store(path, { octets: octetsStored, files: filesStored });
      shared.claim(path, { octets: -octets, files: -files });
    }
  }

  #take(path: number, { octets, files }: { readonly octets: number; readonly files: number }): void {
    const volume = this.#volumeOf[path];
    if (volume === undefined) return;
    volume.octets -= octets;
    volume.files -= files;
  }

  #isFresh(): boolean {
    return this.#claimed < REREAD_AT &&
      this.#options.clock.monotonic() < this.#readAt + REREAD_AFTER;
  }

  #isLow(volume: Volume): boolean {
    const { octets, files } = this.#left(volume);
    return this.#isTooLittle({ octets, files, minFiles: volume.minFiles });
  }

  #isTooLittle({ octets, files, minFiles }: Omit<Volume, "path">): boolean {
    return octets < this.#options.minFreeSpace() || files < minFiles;
  }

  /** What is free and unclaimed, by other threads, too. */
  #left(volume: Volume): Pick<Volume, "octets" | "files"> {
    const { shared } = this.#options;
    if (shared === undefined) return volume;
    let { octets, files } = volume;
    for (const [path, its] of this.#volumeOf.entries()) {
      if (its !== volume) continue;
      const others = shared.ofOthers(path, this.#mark);
      octets -= others.octets;
      files -= others.files;
    }
    return { octets, files };
  }

  /** The file system that has too little room for this, beside all claims. */
  #lack(needs?: SpaceNeeds): Volume | undefined {
    return this.#volumes.find((volume) => {
      if (needs === undefined) return this.#isLow(volume);
      let { octets, files } = this.#left(volume);
      for (let path = 0; path < this.#volumeOf.length; path++) {
        if (this.#volumeOf[path] !== volume) continue;
        const more = needs.files[path] ?? 0;
        octets -= (needs.octets[path] ?? 0) + more * FILE_COST;
        files -= more;
      }
      return this.#isTooLittle({ octets, files, minFiles: volume.minFiles });
    });
  }

  async #hasAfterReading(
    needs: SpaceNeeds | undefined,
    asking: { readonly session: string; readonly octets: readonly number[] },
  ): Promise<boolean> {
    const { session, octets } = asking;
    // Where nothing has come since the last reading, another one would show the same.
    if (!this.#isFresh() || this.#claimed > 0) {
      await (this.#reading ??= this.#readSpace().finally(() => this.#reading = undefined));
    }
    const lack = this.#lack(needs);
    if (lack === undefined) return true;
    this.#tell(lack, { session, size: octets.reduce((sum, count) => sum + count, 0) });
    // Its message will be refused: at once, since another that waits for the same reading may have room by that.
    if (asking instanceof SpaceClaim) this.#giveBack(asking);
    return false;
  }

  /** At warn once a minute: the log of each message that is refused would fill what is left. */
  #tell(
    { path, octets, files }: Volume,
    { session, size }: { readonly session: string; readonly size: number },
  ): void {
    const { logger, minFreeSpace } = this.#options;
    logger[this.#warning.isDue(path) ? "warn" : "debug"]("storage.low_space", {
      session,
      path,
      // Claims are not there yet.
      free: Math.max(octets, 0),
      size,
      min_free_space: minFreeSpace(),
      ...(files < Infinity && { free_files: Math.max(files, 0) }),
    });
  }

  async #readSpace(): Promise<void> {
    const { paths, clock } = this.#options;
    // Data written during the reading may be counted twice, and is never missed.
    const before = new Map(
      Array.from(this.#claims, (claim) => [claim, paths().map((_, path) => claim.written(path))]),
    );
    const mark = this.#options.shared?.mark();
    const found = await Promise.all(paths().map((path) => this.#volumeAt(path)));
    this.#volumeOf = sharedVolumes(found);
    this.#volumes = [...new Set(this.#volumeOf)];
    this.#readAt = clock.monotonic();
    if (mark !== undefined) this.#mark = mark;
    this.#claimed = 0;
    for (const claim of this.#claims) {
      const written = before.get(claim) ?? [];
      for (const path of this.#volumeOf.keys()) {
        const octets = Math.max((claim.octets[path] ?? 0) - (written[path] ?? 0), 0);
        this.#take(path, { octets, files: claim.files[path] ?? 0 });
      }
    }
  }

  async #volumeAt(path: string): Promise<FoundVolume> {
    const { room: freeRoomOf = freeRoom, device = deviceOf, logger } = this.#options;
    try {
      const free = await freeRoomOf(path);
      const { octets, files } = free;
      const volume = { path, octets, files: files?.free ?? Infinity, minFiles: reservedFiles(free) };
      return { device: await device(path), volume };
    } catch (error) {
      // Where it is full, writing fails.
      logger.warn("storage.space_unknown", { path, error: errorText(error) });
      return { device: Symbol(path), volume: { path, octets: Infinity, files: Infinity, minFiles: 0 } };
    }
  }
}

interface FoundVolume {
  /** Tells file systems apart; `undefined` where that is not known. */
  readonly device: unknown;
  readonly volume: Volume;
}

/**
 * One entry for each file system. A path whose file system is unknown counts to the first one, which errs on the safe
 * side.
 */
function sharedVolumes(found: readonly FoundVolume[]): Volume[] {
  const known = found.find(({ device }) => device !== undefined)?.device;
  const volumes = new Map<unknown, Volume>();
  return found.map(({ device = known, volume }) => {
    const shared = volumes.get(device);
    if (shared === undefined) volumes.set(device, volume);
    else if (volume.octets < shared.octets) Object.assign(shared, volume);
    return shared ?? volume;
  });
}

async function deviceOf(path: string): Promise<unknown> {
  try {
    return (await Deno.stat(path)).dev;
  } catch {
    // Not made yet.
    return undefined;
  }
}

/**
 * A message that knows what of it is on the disk. It is an object and no function: V8 keeps a closure in a field beyond
 * its object's end, and with it the message, which cost 50 MiB under load.
 */
export interface MessageOnDisk {
  /** Octets in the path of this index that are on the disk already. */
  writtenIn(path: number): number;
}

/** The room of one message; made by {@linkcode SpaceReserve.claim}. */
export class SpaceClaim implements Disposable {
  /** @ignore */
  readonly session: string;
  /** @ignore Claimed in each path. */
  readonly octets: number[];
  /** @ignore */
  readonly files: readonly number[];
  /** What is already on the disk; while that is unknown, nothing, which counts it twice for a while. */
  message: MessageOnDisk | undefined;
  readonly #reserve: SpaceReserve;

  /** @ignore Made by the reserve. */
  constructor(reserve: SpaceReserve, { session, files }: { session: string; files: readonly number[] }) {
    this.#reserve = reserve;
    this.session = session;
    this.files = files;
    this.octets = files.map((count) => count * FILE_COST);
  }

  /** Octets of the message that are claimed in the path of this index. */
  claimed(path: number): number {
    return (this.octets[path] ?? 0) - (this.files[path] ?? 0) * FILE_COST;
  }

  /** @ignore How many of the octets in the path of this index are already on the disk. */
  written(path: number): number {
    return this.message?.writtenIn(path) ?? 0;
  }

  /** Claims more in the path of this index. Returns, or resolves to, whether that leaves the reserve. */
  grow(path: number, octets: number): Promise<boolean> | boolean {
    this.octets[path] = (this.octets[path] ?? 0) + octets;
    return this.#reserve.grow(this, { path, octets });
  }

  /** The message is stored: records its octets in each path, and all its files. */
  settle(octets: readonly number[]): void {
    this.#reserve.end(this, { octets, files: this.files });
  }

  /** The message is dropped, and nothing of it is on the disk. Does nothing where it has been settled. */
  [Symbol.dispose](): void {
    this.#reserve.end(this, { octets: [], files: [] });
  }
}
