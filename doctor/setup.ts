/**
 * The input of doctor: the configuration in its own terms, and access to the machine and the network.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { SocketAddress, Transport } from "../net/transport.ts";
import type { CertificatePair } from "../tls/certificates.ts";
import type { IncomingChecks } from "./checks/incoming.ts";
import type { QueueState } from "./checks/queue.ts";
import type { RouteProbe } from "./checks/routes.ts";
import type { StorageCheck } from "./checks/storage.ts";
import type { SubmissionCheck } from "./checks/submission.ts";
import type { Fetched } from "../mta_sts/fetch.ts";
import type { PublishedPolicy } from "../mta_sts/own_policy.ts";
import type { GuardedPath } from "../storage/file_rights.ts";
import type { MachineName, World } from "./world.ts";

/** The addresses of this machine that mail comes to and goes from. */
export interface OwnAddresses {
  /** All addresses that serve-in is bound to; a wildcard is expanded. */
  readonly bound: readonly string[];
  /** Why there is none, while serve-in waits for the network to bring one up. */
  readonly waiting?: string;
  /** Those of them that are reachable from the Internet, or behind NAT. */
  readonly listening: readonly string[];
  /** The source addresses of mail; empty if unknown, or if mail leaves through a smarthost. */
  readonly sending: readonly string[];
  /** Addresses that mail is to be sent from and that no interface has. */
  readonly foreignSources: readonly string[];
  /** The smarthost that all mail leaves through. */
  readonly smarthost?: { readonly host: string; readonly port: number };
}

/** Something that is wrong with the configuration. */
export interface ConfigProblem {
  /** With key and value. */
  readonly what: string;
  /** Set if only this account lacks permission. */
  readonly forbidden?: true;
}

/** The certificate of STARTTLS. */
export type CertificateState =
  /** Absent `pair`: none is configured. */
  | { readonly kind: "known"; readonly pair?: CertificatePair }
  /** serve-in will make one at its first start. */
  | { readonly kind: "to-be-made" }
  /** This account may not read it. */
  | { readonly kind: "forbidden"; readonly reason: string }
  | { readonly kind: "unusable"; readonly reason: string };

/** How outgoing connections are tested. */
export interface WayOut {
  /** Port 25, or the smarthost's. */
  readonly port: number;
  /** The families that mail is sent over. */
  readonly families: readonly (4 | 6)[];
  /** Connects from the address that mail is sent from. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
}

/** The result of requesting a certificate from an authority. */
export interface AuthorityState {
  /** Whether it has issued one. */
  readonly issued: boolean;
  /** Why the last attempt failed; absent if it did not. */
  readonly error?: string;
}

/** The key that the certificate gets by `mailapp certificate rollover`, which has begun. */
export interface NextKey {
  /** The data of its TLSA record. */
  readonly tlsa: string;
  /** When it may be used, in milliseconds since the epoch; absent: not before its record is seen in DNS. */
  readonly usableFrom?: number;
}

/** The policy that the domains promise. */
export interface OwnPolicy extends PublishedPolicy {
  /** Whether serve-policy serves it, and not a web server. */
  readonly served: boolean;
}

/** The input of all checks. */
export interface Setup {
  /** The server's name. */
  readonly hostname: string;
  /** The domains that serve-in takes mail for; empty where there is no serve-in. */
  readonly domains: readonly string[];
  /** Full names of this machine whose mail serve-out delivers to a domain of its own; absent: none. */
  readonly machineNames?: readonly MachineName[];
  /** The configuration file; absent where there is none. */
  readonly configFile?: string;
  /** Its warnings. */
  readonly configWarnings: readonly string[];
  /** Its errors. */
  readonly configProblems: readonly ConfigProblem[];
  /** Queue, state and keys. */
  readonly dataDir: string;
  /** Where programs leave mail while serve-out is stopped. */
  readonly maildrop: string;
  /** What other accounts of the machine must not read or change. */
  readonly guarded: readonly GuardedPath[];
  /** What the servers write and read, to test whether they may. */
  readonly storage: StorageCheck;
  /** The addresses for incoming and outgoing mail. */
  readonly own: OwnAddresses;
  /** The certificate of STARTTLS. */
  readonly certificate: CertificateState;
  /** Whether serve-in made that certificate itself. */
  readonly selfSigned: boolean;
  /** The result of requesting it from an authority; absent without `[tls.acme]`. */
  readonly authority?: AuthorityState;
  /** The key after the next change of keys; absent where none is under way. */
  readonly nextKey?: NextKey;
  /** The public keys of the signing keys; absent if they cannot be read. */
  readonly dkim?: World["dkim"];
  /** Whether the DNS servers validate. */
  readonly dnssec: boolean;
  /** Whether private addresses count as public ones. */
  readonly closedNetwork: boolean;
  /** Queries DNS. */
  readonly resolver: World["resolver"];
  /** The DNS checks of incoming mail; absent if there are none. */
  readonly incoming?: IncomingChecks;
  /** The DNS servers, for people. */
  readonly dnsServers: string;
  /** Problems of the system's DNS settings, one sentence each. */
  readonly dnsProblems: readonly string[];
  /** A foreign domain, to test DNS and port 25 with. */
  readonly probe: string;
  /** The port of serve-in; 0: not known. */
  readonly serveInPort: number;
  /** Connects to serve-in. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
  /** serve-submit; absent where it is not configured. */
  readonly submission?: SubmissionCheck;
  /** Domains with their own host, and the smarthost. */
  readonly routes: readonly RouteProbe[];
  /** How mail leaves the machine. */
  readonly wayOut: WayOut;
  /** The queue of serve-out; `forbidden`: why this account may not read it. Rejects if serve-out does not answer. */
  readonly queue: () => Promise<QueueState | { readonly forbidden: string }>;
  /** The MTA-STS policy of the domains; absent: none is configured. */
  readonly policy?: OwnPolicy;
  /** Fetches the MTA-STS policy of a domain, as a sender does. */
  readonly fetchPolicy: (domain: string) => Promise<Fetched>;
  /** Tells the time. */
  readonly clock: Clock;
}
