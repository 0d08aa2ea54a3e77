/**
 * Command lines of Docker's, for tests that do what they say without it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ContainerHost, ContainerOptions, Image } from "./containers.ts";

/** The words of a line, without their quotes. */
export function shellWords(line: string): string[] {
  return (line.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? []).map((word) => word.replaceAll(/['"]/g, ""));
}

/** Flags of `docker run` that have no value. */
const BARE = ["-d", "--rm", "--read-only"];

/** What `docker run … mailapp …` asks for. */
export function dockerRun(
  line: string,
  { image, host }: { readonly image: Image; readonly host: ContainerHost },
): { readonly options: ContainerOptions; readonly flags: ReadonlySet<string> } {
  const words = shellWords(line);
  assert.deepEqual(words.splice(0, 2), ["docker", "run"]);
  const flags = new Set<string>();
  const env: Record<string, string> = {};
  const volumes: string[] = [];
  while (words[0]?.startsWith("-")) {
    const flag = words.shift() ?? "";
    flags.add(flag);
    if (BARE.includes(flag)) continue;
    const value = words.shift() ?? "";
    if (flag === "-e") env[value.slice(0, value.indexOf("="))] = value.slice(value.indexOf("=") + 1);
    else if (flag === "-v") volumes.push(value.startsWith("./") ? host.folder.at(value.slice(2)) : value);
    else assert.match(`${flag} ${value}`, /^(?:--name|--tmpfs|--cap-drop|--security-opt|-p|--network) \S+$/);
  }
  assert.equal(words.shift(), "mailapp");
  return {
    options: {
      image,
      ...(words.length > 0 && { command: words }),
      ...(Object.keys(env).length > 0 && { env }),
      volumes,
    },
    flags,
  };
}
