/** As much of dns-packet's interface as is used here; the package brings no types. */

export interface Question {
  readonly name: string;
  readonly type: string;
  readonly class?: string;
}

export interface ResourceRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly class?: string;
  readonly data?: unknown;
  /** Of an OPT record: the upper eight bits of the response code (RFC 6891 §6.1.3). */
  readonly extendedRcode?: number;
}

export interface OptRecord {
  readonly type: "OPT";
  readonly name: ".";
  readonly udpPayloadSize: number;
  readonly extendedRcode?: number;
  readonly flags: number;
  readonly options: readonly never[];
}

export interface Packet {
  readonly id: number;
  readonly type: "query" | "response";
  readonly flags: number;
  readonly questions: readonly Question[];
}

export interface DecodedPacket extends Packet {
  readonly rcode: string;
  readonly opcode: string;
  readonly flag_aa: boolean;
  readonly flag_tc: boolean;
  readonly flag_ra: boolean;
  readonly flag_ad: boolean;
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
}

declare const dnsPacket: {
  encode(
    packet: Packet & {
      readonly answers?: readonly ResourceRecord[];
      readonly authorities?: readonly ResourceRecord[];
      readonly additionals?: readonly (ResourceRecord | OptRecord)[];
    },
  ): Uint8Array;
  /** Throws on what is not a DNS message. */
  decode(message: Uint8Array): DecodedPacket;
};
export default dnsPacket;
