/**
 * Real files without waiting for the disk, for tests that do much and lose nothing by a crash.
 *
 * @module
 */
import { denoFileSystem, type FileSystem, type OpenFile } from "../../storage/file_system.ts";

/** Does everything but sync. */
export const unsyncedFileSystem: FileSystem = {
  ...denoFileSystem,
  openSync: (path, options) => withoutSync(denoFileSystem.openSync(path, options)),
};

function withoutSync(file: OpenFile): OpenFile {
  return {
    read: (buffer) => file.read(buffer),
    write: (data) => file.write(data),
    writeSync: (data) => file.writeSync(data),
    seek: (offset, whence) => file.seek(offset, whence),
    truncateSync: (length) => file.truncateSync(length),
    sync: () => Promise.resolve(),
    stat: () => file.stat(),
    close: () => file.close(),
  };
}
