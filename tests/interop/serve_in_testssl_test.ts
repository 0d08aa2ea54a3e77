// testssl.sh against both ways to TLS; what it said in full is in docs/security.md.
import assert from "node:assert/strict";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeIn } from "../support/peers/mailapp.ts";
import { run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

const WEAK = ["LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"];

// One TLS implementation serves both ports, so that each of the two long searches is made on one of them.
testWith(
  ["testssl", "openssl"],
  "testssl.sh finds only TLS 1.2 and 1.3 with strong ciphers in STARTTLS",
  async () => {
    await using server = await startServeIn();
    const findings = await testssl([
      "--protocols",
      "--std",
      "--starttls",
      "smtp",
      `127.0.0.1:${server.port}`,
    ]);
    const protocols = Object.fromEntries(findings.map(({ id, finding }) => [id, finding]));
    for (const good of ["TLS1_2", "TLS1_3"]) assert.match(protocols[good] ?? "", /^offered/);
    for (const old of ["SSLv2", "SSLv3", "TLS1", "TLS1_1"]) {
      assert.match(
        protocols[old] ?? "",
        /^not offered/,
      );
    }
    assert.deepEqual(weak(findings), []);
  },
);

testWith(["testssl", "openssl"], "testssl.sh finds no known vulnerability on port 465", async () => {
  await using server = await startServeIn();
  const findings = await testssl(["--vulnerable", `127.0.0.1:${server.tlsPort}`]);
  assert.ok(
    findings.some(({ id, severity }) => id === "ROBOT" && severity === "OK"),
    JSON.stringify(findings),
  );
  assert.deepEqual(weak(findings), []);
});

/** Findings against the server; that this machine's openssl has no GOST (`engine_problem`) does not. */
function weak(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ id, severity }) => id !== "engine_problem" && WEAK.includes(severity));
}

/** What testssl.sh finds; it starts thousands of processes for it. */
async function testssl(args: readonly string[]): Promise<Finding[]> {
  await using folder = await makeFolder("testssl");
  const file = folder.at("findings.json");
  const { stdout } = await run("testssl", {
    args: [
      ...[
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "batch",
        "--openssl",
        "/usr/bin/openssl",
        "--jsonfile",
        file,
      ],
      ...args,
    ],
    cwd: folder.path,
    within: 600_000,
  });
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    throw new Error(`testssl left no findings:\n${stdout}`, { cause: error });
  }
}
