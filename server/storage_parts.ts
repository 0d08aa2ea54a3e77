/**
 * What the servers of a configuration write and read.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import type { ReadFile, StoragePlace } from "../doctor/checks/storage.ts";
import { DATA_MODE } from "./parts.ts";
import type { Server } from "./server.ts";

/** What every server needs to start: the data directory, and the log. */
export function vitalPlaces(config: Config, servers: readonly Server[]): StoragePlace[] {
  const { dataDir, log } = config;
  const minFreeSpace = Math.max(0, ...servers.map((server) => server.minFreeSpace(config)));
  return [
    { name: "data_dir", path: dataDir, minFreeSpace, expected: true, mode: DATA_MODE },
    ...servers.flatMap((server) =>
      (server.dataPlaces?.(config) ?? []).map(({ name, path }) => (
        { name, path, minFreeSpace: server.minFreeSpace(config), mode: 0o700, apartFrom: dataDir }
      ))
    ),
    ...(log.file === undefined ? [] : [{ name: "[log] file", path: log.file, minFreeSpace: 0 }]),
  ];
}

/** Directories that only the servers write to: in others root may have put keys. */
export function keptDirectories({ dataDir }: Config): string[] {
  return ["spool", "incoming"].map((name) => join(dataDir, name));
}

/** The files that the servers need to start. */
export function vitalFiles(config: Config, servers: readonly Server[]): ReadFile[] {
  const { file } = config;
  return [
    ...(file === undefined ? [] : [{ name: "the configuration", path: file }]),
    ...servers.flatMap((server) => server.readFiles(config)),
  ];
}
