/**
 * `mailapp explain` in words.
 *
 * @module
 */
import { systemClock } from "../../base/clock.ts";
import type { DomainAnswer } from "../../relay/control_protocol.ts";
import type { Target } from "../../relay/mx.ts";
import { count, printable, showDuration } from "../command_line/terminal.ts";
import { describeTrial } from "./connect.ts";
import { daneOf, keyOf } from "./dane.ts";
import { describeTls, remarkOf } from "./describe_tls.ts";
import { describeEverywhere } from "./everywhere.ts";
import type { Explanation, Local } from "./explanation.ts";

const VIA: Readonly<Record<Target["via"], string>> = {
  mx: "the MX hosts",
  implicit: "the domain's own address, since it has no MX",
  literal: "the address itself",
  route: "the host of [serve-out.routes]",
  local: "serve-in of this machine",
};

/** What was found out, with what serve-out says of its queue. */
export function describe(
  explanation: Explanation,
  server: DomainAnswer | "forbidden" | undefined,
): string {
  const {
    address,
    domain,
    local,
    outcome,
    targets,
    dane,
    trials,
    outdated,
    missingSources,
    serveIn,
    everywhere,
  } = explanation;
  const lines = [printable(address), ...describeCompletion(explanation)];
  if (local?.accepted === false) {
    lines.push(`  ${domain} is local, but has no such mailbox: serve-in refuses it (550 5.1.1)`);
  } else if (local !== undefined) {
    lines.push(...local.maildirs.map((path) => `  local: serve-in stores it in ${path}`));
  }
  lines.push(...describeServeIn(serveIn, local));
  if (outdated) {
    lines.push(
      "  serve-out still uses an earlier configuration than the file, shown here: systemctl reload mailapp-out",
    );
  }
  const [first] = targets;
  if (outcome.kind === "failed") {
    lines.push(`  fails permanently: ${outcome.status} ${printable(outcome.reason)}`);
  } else if (outcome.kind === "deferred") {
    lines.push(`  is deferred: ${outcome.status} ${printable(outcome.reason)}`);
  } else if (first !== undefined) {
    lines.push(`  serve-out sends it to ${VIA[first.via]}, in this order:`);
    for (const target of targets) {
      const { host, address, port } = target;
      const remark = remarkOf(target, daneOf(target, dane));
      lines.push(
        `    ${host === address ? host : `${printable(host)} [${address}]`} port ${port}${remark}`,
        ...describeTrial(trials?.get(keyOf(target))),
      );
    }
    lines.push(...describeSources(missingSources), ...describeTls(explanation));
  }
  const refused = local?.accepted === false ||
    (serveIn !== undefined && "reply" in serveIn && /^5/.test(serveIn.reply));
  lines.push(...describeQueue(domain, { server, sendable: outcome.kind === "targets" && !refused }));
  if (everywhere !== undefined) lines.push(describeEverywhere(domain, everywhere));
  return lines.map((line) => `${line}\n`).join("");
}

/** That a name without a domain gets one; a name with a dot may have been meant as a domain. */
function describeCompletion({ address, completed }: Explanation): string[] {
  if (completed === undefined) return [];
  const other = address.includes(".")
    ? `; for mail to that domain, try postmaster@${printable(address)}`
    : "";
  return [`  a name without a domain stands for ${printable(completed)}${other}`];
}

function describeSources(missing: readonly string[] = []): string[] {
  return missing.map((source) => {
    const version = source.includes(":") ? 6 : 4;
    return `  cannot be sent over IPv${version}: no interface of this machine has ${source} (source_ipv${version})`;
  });
}

/** What the running serve-in says, if it differs from the file. */
function describeServeIn(serveIn: Explanation["serveIn"], local: Local | undefined): string[] {
  if (serveIn === undefined) return [];
  if ("error" in serveIn) return [`  serve-in does not answer: ${printable(serveIn.error)}`];
  const { reply } = serveIn;
  const accepts = reply.startsWith("2");
  if (accepts === (local?.accepted ?? false)) return [];
  const remedy = reply.startsWith("4") ? "" : "; if the file has changed: systemctl reload mailapp-in";
  return [`  serve-in ${accepts ? "accepts" : "refuses"} it now: ${printable(reply)}${remedy}`];
}

function describeQueue(
  domain: string,
  { server, sendable }: {
    readonly server: DomainAnswer | "forbidden" | undefined;
    readonly sendable: boolean;
  },
): string[] {
  if (server === undefined) return ["  serve-out is not running"];
  if (server === "forbidden") {
    return ["  showing the queue requires root or the account of serve-out"];
  }
  const { status: { waiting, ready, active, resting, nextAt }, hosts } = server;
  const lines: string[] = [];
  if (waiting + ready + active === 0) {
    lines.push(`  nothing waits for ${domain}${sendable ? ": a message is sent at once" : ""}`);
  } else {
    const next = nextAt === undefined ? "" : `, next try in ${showDuration(nextAt - systemClock.now())}`;
    lines.push(
      `  for ${domain}: ${count(active, "connection")} active, ${ready} due, ${waiting} waiting${next}`,
    );
  }
  if (resting) lines.push("  all of them wait for a host that is at its limit or paused");
  for (const { host, address, forMs, failure } of hosts) {
    const why = printable(failure.reply ?? failure.error ?? failure.status);
    lines.push(`  ${printable(host)} [${address}] is paused for ${showDuration(forMs)}: ${why}`);
  }
  return lines;
}
