/**
 * Reports about DMARC as others send them: XML, packed, and as mail.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32, deflateRawSync } from "node:zlib";

/** One record of a report. */
export function dmarcRecord(
  { source = "192.0.2.7", count = 3, dkim = "fail", spf = "fail", disposition = "reject" } = {},
): string {
  return `  <record>
    <row>
      <source_ip>${source}</source_ip>
      <count>${count}</count>
      <policy_evaluated>
        <disposition>${disposition}</disposition>
        <dkim>${dkim}</dkim>
        <spf>${spf}</spf>
        <reason><type>local_policy</type><comment>arc=pass</comment></reason>
      </policy_evaluated>
    </row>
    <identifiers><envelope_from>b.example</envelope_from><header_from>example.com</header_from></identifiers>
    <auth_results>
      <dkim><domain>example.com</domain><selector>s1</selector><result>${dkim}</result></dkim>
      <dkim><domain>other.example</domain><result>pass</result></dkim>
      <spf><domain>b.example</domain><scope>mfrom</scope><result>${spf}</result></spf>
    </auth_results>
  </record>
`;
}

/** A report about example.com with these records. */
export function dmarcReport(
  records: readonly string[],
  { organization = "Receiver &amp; Sons" } = {},
): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>${organization}</org_name>
    <email>dmarc@receiver.example</email>
    <report_id>r-1</report_id>
    <date_range><begin>1795910400</begin><end>1795996799</end></date_range>
  </report_metadata>
  <policy_published><domain>example.com</domain><adkim>r</adkim><aspf>r</aspf><p>reject</p><pct>100</pct></policy_published>
${records.join("")}</feedback>
`;
}

/** A ZIP archive of one file. */
export function zipOf(
  content: Uint8Array,
  { name = "report.xml", method = 8, flags = 0 } = {},
): Uint8Array {
  const data = method === 8 ? deflateRawSync(content) : Buffer.from(content);
  const common = Buffer.alloc(26);
  common.writeUInt16LE(20, 0);
  common.writeUInt16LE(flags, 2);
  common.writeUInt16LE(method, 4);
  common.writeUInt32LE(crc32(content), 10);
  common.writeUInt32LE(data.length, 14);
  common.writeUInt32LE(content.length, 18);
  common.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), data]);
  const directory = Buffer.concat([
    Buffer.from("PK\x01\x02\x14\x00"),
    common,
    Buffer.alloc(14),
    Buffer.from(name),
  ]);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, directory, end]);
}

/** A mail with one attachment, lines ending in LF, as in a Maildir. */
export function reportMail(content: Uint8Array, type: string): Uint8Array {
  const body = Buffer.from(content).toString("base64").replace(/.{76}/g, "$&\n");
  return Buffer.from(`Received: from mail.receiver.example
From: <dmarc@receiver.example>
Subject: Report Domain: example.com
MIME-Version: 1.0
Content-Type: multipart/mixed;
 boundary="=_x"

--=_x
Content-Type: text/plain

This is a report.

--=_x
Content-Type: ${type}; name="receiver.example!example.com!1795910400!1795996799.xml"
Content-Transfer-Encoding: base64
Content-Disposition: attachment

${body}
--=_x--
`);
}
