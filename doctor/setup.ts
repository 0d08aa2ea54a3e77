/**
 * What doctor is given: the configuration in its own terms, and the means to look at the machine and the network.
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
import type { FetchText } from "./checks/tls_policies.ts";
import type { GuardedPath } from "../storage/file_rights.ts";
import type { World } from "./world.ts";

/** The addresses of this machine that mail comes to and goes from. */
export interface OwnAddresses {
  /** All that serve-in is bound to; a wildcard as what it stands for. */
  readonly bound: readonly string[];
  /** Why that is none, where the network may still bring one, which serve-in waits for. */
  readonly waiting?: string;
  /** Those of them that the Internet can reach, or that stand behind NAT. */
  readonly listening: readonly string[];
  /** Empty where it is not known, or mail leaves through a smarthost. */
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
  /** Only that this account may not read it: others may. */
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

/** Whether mail can leave, and how that is tried. */
export interface WayOut {
  /** Port 25, or the smarthost's. */
  readonly port: number;
  /** The families that mail is sent over. */
  readonly families: readonly (4 | 6)[];
  /** Connects from the address that mail is sent from. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
}

/** What came of asking an authority for a certificate. */
export interface AuthorityState {
  /** Whether it has issued one. */
  readonly issued: boolean;
  /** Why the last try failed; absent where it did not. */
  readonly error?: string;
}

/** Everything that the checks look at. */
export interface Setup {
  /** The server's name. */
  readonly hostname: string;
  /** The domains that serve-in takes mail for; empty where there is no serve-in. */
  readonly domains: readonly string[];
  /** The configuration file; absent where there is none. */
  readonly configFile?: string;
  /** What is odd in it. */
  readonly configWarnings: readonly string[];
  /** What is wrong with it. */
  readonly configProblems: readonly ConfigProblem[];
  /** Queue, state and keys. */
  readonly dataDir: string;
  /** Where programs leave mail while serve-out is stopped. */
  readonly maildrop: string;
  /** What other accounts of the machine must not read or change. */
  readonly guarded: readonly GuardedPath[];
  /** What the servers write and read, and whether they may. */
  readonly storage: StorageCheck;
  /** Where mail comes to and goes from. */
  readonly own: OwnAddresses;
  /** What STARTTLS shows. */
  readonly certificate: CertificateState;
  /** Whether that is one of serve-in's own making. */
  readonly selfSigned: boolean;
  /** What came of asking an authority for it; absent where none is asked. */
  readonly authority?: AuthorityState;
  /** The public keys of what is signed with; absent where they cannot be read. */
  readonly dkim?: World["dkim"];
  /** Whether the DNS servers validate. */
  readonly dnssec: boolean;
  /** Whether private addresses are as good as public ones. */
  readonly closedNetwork: boolean;
  /** Answers questions to DNS. */
  readonly resolver: World["resolver"];
  /** What serve-in asks about mail; absent where it asks nothing. */
  readonly incoming?: IncomingChecks;
  /** Who is asked, for people. */
  readonly dnsServers: string;
  /** What is wrong with the system's choice of them, one sentence each. */
  readonly dnsProblems: readonly string[];
  /** A domain of others, to test DNS and port 25 against. */
  readonly probe: string;
  /** The port of serve-in; 0: not known. */
  readonly serveInPort: number;
  /** Connects to serve-in. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
  /** serve-submit; absent where it is not configured. */
  readonly submission?: SubmissionCheck;
  /** Domains with a host of their own, and the smarthost. */
  readonly routes: readonly RouteProbe[];
  /** How mail leaves. */
  readonly wayOut: WayOut;
  /** What serve-out says of its queue; `forbidden`: why this account may not ask. Rejects where it does not answer. */
  readonly queue: () => Promise<QueueState | { readonly forbidden: string }>;
  /** Gets a web page. */
  readonly fetchText: FetchText;
  /** Tells the time. */
  readonly clock: Clock;
}
