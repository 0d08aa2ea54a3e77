/**
 * The addresses in a header field such as To (RFC 5322 §3.4), as `sendmail -t` needs them.
 *
 * @module
 */

/**
 * The addresses of an unfolded field value, in order: what stands in angle brackets, without a source route, or else
 * the bare address. Names, comments and the names of groups are left out.
 */
export function parseAddressList(value: string): string[] {
  const addresses: string[] = [];
  let bare = "";
  let angle: string | undefined;
  const end = () => {
    const address = (angle ?? bare).trim();
    if (address !== "") addresses.push(address);
    bare = "";
    angle = undefined;
  };
  for (let at = 0; at < value.length;) {
    const char = value[at];
    switch (char) {
      case "(":
        at = skipComment(value, at);
        continue;
      case '"': {
        const next = skipQuoted(value, at);
        bare += value.slice(at, next);
        at = next;
        continue;
      }
      case "<": {
        const close = closingAngle(value, at);
        angle = value.slice(at + 1, close).replace(/^\s*@[^:]*:/, "");
        at = close + 1;
        continue;
      }
      case ",":
      case ";":
        end();
        break;
      case ":":
        // The name of a group; its members follow.
        bare = "";
        break;
      case "[": {
        // An address literal may hold colons.
        const close = value.indexOf("]", at);
        const next = close < 0 ? value.length : close + 1;
        bare += value.slice(at, next);
        at = next;
        continue;
      }
      default:
        bare += char;
    }
    at++;
  }
  end();
  return addresses;
}

function skipComment(value: string, start: number): number {
  let depth = 0;
  for (let at = start; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === "(") depth++;
    else if (value[at] === ")" && --depth === 0) return at + 1;
  }
  return value.length;
}

function skipQuoted(value: string, start: number): number {
  for (let at = start + 1; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === '"') return at + 1;
  }
  return value.length;
}

function closingAngle(value: string, start: number): number {
  for (let at = start + 1; at < value.length; at++) {
    if (value[at] === '"') at = skipQuoted(value, at) - 1;
    else if (value[at] === ">") return at;
  }
  return value.length;
}
