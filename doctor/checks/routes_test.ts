import assert from "node:assert/strict";
import { checkRoutes, type RouteTrial } from "./routes.ts";

async function check(trial: RouteTrial | Error, login = false) {
  const tryOut = () => trial instanceof Error ? Promise.reject(trial) : Promise.resolve(trial);
  const [finding] = await checkRoutes({ routes: [{ name: "*", host: "smtp.test:587", login, tryOut }] });
  return finding &&
    `${finding.id} ${finding.outcome}: ${finding.what}${finding.next ? ` → ${finding.next}` : ""}`;
}

Deno.test("checkRoutes() says how each route fares", async () => {
  assert.equal(
    await check({ kind: "ready", how: "TLS, verified" }, true),
    "route ok: it takes mail from here: TLS, verified, logged in",
  );
  assert.equal(
    await check({ kind: "refused", why: "535 5.7.8 no", next: "Check the password." }),
    "route.refused failure: 535 5.7.8 no → Check the password.",
  );
  assert.match(await check({ kind: "refused", why: "no TLS" }) ?? "", /→ Check the route/);
  assert.equal(await check({ kind: "unknown", why: "DNS is down" }), "route untested: DNS is down");
  assert.equal(await check(new Error("broken")), "route untested: broken");
});
