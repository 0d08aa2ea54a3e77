/**
 * Reports warnings and errors of the configuration.
 *
 * @module
 */
import { failure, type Finding, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";

/** The input of the check. */
export type ConfigCheck = Pick<Setup, "configFile" | "configWarnings" | "configProblems">;

/** Turns the results of the configuration's own checks into findings. */
export function checkConfig({ configFile, configWarnings, configProblems }: ConfigCheck): Finding[] {
  return [
    ...configWarnings.map((what) =>
      warning("config.odd", configFile ?? "the defaults", {
        what,
        next: "config.example.toml says what each key does.",
      })
    ),
    ...configProblems.map(({ what, forbidden }) =>
      forbidden
        ? untested("config", "configuration", { what, next: AS_ROOT })
        : failure("config.wrong", "configuration", {
          what,
          next: "Fix it; then mailapp check-config says whether it is right.",
        })
    ),
  ];
}

/** What to do where this account lacks permission. */
export const AS_ROOT = "Run doctor as root, or as the account of the servers.";

/** Checks whether serve-in can be reached, and whether the source addresses of mail are known. */
export function checkOwnAddresses({ domains, own }: Pick<Setup, "domains" | "own">): Finding[] {
  const { bound, waiting, listening, sending, smarthost, foreignSources } = own;
  const findings: Finding[] = [];
  if (domains.length > 0 && waiting !== undefined) {
    findings.push(failure("address.waiting", "serve-in", {
      what: `it has no address yet, and is waiting for one: ${waiting}`,
      next: "It needs no restart once the network is there; ip route and ip address show its state.",
    }));
  } else if (domains.length > 0 && listening.length === 0) {
    findings.push(failure("address.unreachable", bound.join(", ") || "serve-in", {
      what: "serve-in listens on no address that the Internet can reach",
      next: `Set [serve-in] listen, to "auto" or to addresses; ip address shows those of this machine.`,
    }));
  }
  for (const source of foreignSources) {
    const version = source.includes(":") ? 6 : 4;
    findings.push(failure("address.source", source, {
      what:
        `no interface of this machine has it, so nothing can be sent over IPv${version} (source_ipv${version})`,
      next:
        `Give [serve-out] source_ipv${version} an address of this machine, or remove it; ip address shows them.`,
    }));
  }
  if (sending.length === 0 && smarthost === undefined && foreignSources.length === 0) {
    findings.push(untested("address.sending", "serve-out", {
      what: "from which address it sends is not known: this machine has no default route",
      next: "Set [serve-out] source_ipv4 or source_ipv6.",
    }));
  }
  return findings;
}
