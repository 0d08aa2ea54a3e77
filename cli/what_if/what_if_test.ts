import assert from "node:assert/strict";
import { join } from "@std/path";
import { entry, fill, withSpool } from "../../tests/support/queue_command.ts";

Deno.test("mailapp what-if says what waits in the queue and would go elsewhere or be given up, and what it cannot judge", async () => {
  await withSpool(async ({ directory, config, mailapp }) => {
    const [id] = await fill(directory, [
      entry(["u@a.test", "v@b.test", { address: "w@a.test", status: "relayed", settled: true }]),
    ]);
    const [installed, log] = [join(directory, "installed.toml"), join(directory, "log")];
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(installed, text);
    await Deno.writeTextFile(log, "");
    await Deno.writeTextFile(
      config,
      `${text}[serve-out]\nexpire_after = "1m"\nmax_connections = 7\n` +
        '[serve-out.routes]\n"a.test" = "smtp.example.net:25"\n',
    );
    const { code, out, err } = await mailapp("what-if", "--installed", installed, "--log", log, "--json");
    assert.equal(code, 0, err);
    const { decisions, differences, changed, not_judged: rest } = JSON.parse(out);
    assert.equal(decisions, 2);
    assert.deepEqual(
      differences.map((
        { was, would, examples }: { was: string; would: string; examples: { what: string }[] },
      ) => [
        was,
        would,
        examples.map(({ what }) => what),
      ]),
      [
        ["waits in the queue", "given up, and its sender notified, at the next attempt", [
          `u@a.test (${id})`,
          `v@b.test (${id})`,
        ]],
        ["sent by MX", "sent via smtp.example.net:25", [`u@a.test (${id}, waiting)`]],
      ],
    );
    assert.deepEqual(changed, ["serve-out.expire_after", "serve-out.max_connections", "serve-out.routes"]);
    assert.deepEqual(rest, ["serve-out.max_connections"]);
  });
});
