import assert from "node:assert/strict";
import { listenAddresses, systemNetwork } from "../net/interfaces.ts";
import { NetworkFiles, ToldNetwork } from "./network_files.ts";

Deno.test("NetworkFiles.read() gives the files as they are, again and again", () => {
  using files = new NetworkFiles();
  for (let time = 0; time < 3; time++) {
    for (const [path, text] of Object.entries(files.read())) {
      // Counters in them go on.
      const shape = (text: string | undefined) =>
        text?.split("\n").map((line) => line.split(/\s+/).slice(0, 4));
      assert.deepEqual(shape(text), shape(systemNetwork.read(path)), path);
    }
  }
});

Deno.test("ToldNetwork finds the same addresses as the system itself", () => {
  using files = new NetworkFiles();
  const network = new ToldNetwork();
  network.texts = files.read();
  assert.deepEqual(listenAddresses("any", network), listenAddresses("any"));
  assert.equal(network.read("/proc/nothing"), undefined);
});

Deno.test("ToldNetwork keeps the interfaces that it knows while they cannot be read", () => {
  const network = new ToldNetwork();
  const read = Deno.networkInterfaces;
  const fail = () => {
    throw new Error("Too many open files (os error 24)");
  };
  try {
    Deno.networkInterfaces = fail;
    assert.throws(() => network.interfaces(), /Too many open files/);
    Deno.networkInterfaces = read;
    const known = network.interfaces();
    Deno.networkInterfaces = fail;
    assert.deepEqual(network.interfaces(), known);
  } finally {
    Deno.networkInterfaces = read;
  }
});
