/** Writes tars byte by byte, right or wrong as a test wants them; shares no code with the product. */

export interface ForgedMember {
  readonly name: string;
  /** The type flag; "0" by default, "5" for a name with a slash at its end. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly linkName?: string;
  readonly content?: string | Buffer;
  readonly major?: number;
  readonly minor?: number;
  /** Extended header records before this member. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
  /** Bytes to write over the finished header (whose checksum is then made right), by offset. */
  readonly patch?: Readonly<Record<number, string | Buffer>>;
  /** What the size field says, where it is not the content's length. */
  readonly size?: number;
}

const EOF = Buffer.alloc(1024);

/** A whole tar with its end marker. */
export function forgeTar(members: readonly ForgedMember[]): Buffer {
  return Buffer.concat([...members.map(forgeMember), EOF]);
}

/** One member with its extended header, content and padding. */
export function forgeMember(member: ForgedMember): Buffer {
  const content =
    typeof member.content === "string" ? Buffer.from(member.content) : (member.content ?? Buffer.alloc(0));
  const parts: Buffer[] = [];
  if (member.pax) parts.push(forgePax(member.pax));
  parts.push(header(member, member.size ?? content.length), padded(content));
  return Buffer.concat(parts);
}

/** An extended header, local ("x") or global ("g"). */
export function forgePax(records: Readonly<Record<string, string | Buffer>>, type = "x"): Buffer {
  const body = Buffer.concat(
    Object.entries(records).map(([key, value]) => record(key, Buffer.from(value as string))),
  );
  return Buffer.concat([header({ name: "PaxHeaders/x", type }, body.length), padded(body)]);
}

/** A GNU long name ("L") or long link target ("K"). */
export function forgeLong(text: string, type: "L" | "K" = "L"): Buffer {
  const body = Buffer.from(`${text}\0`, "latin1");
  return Buffer.concat([header({ name: "././@LongLink", type }, body.length), padded(body)]);
}

function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length + 1;
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

export function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

function header(member: ForgedMember, size: number): Buffer {
  const out = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number): number =>
    out.write(value.toString(8).padStart(length - 1, "0"), at, length - 1, "latin1");
  out.write(member.name, 0, 100, "latin1");
  octal(member.mode ?? (member.name.endsWith("/") ? 0o755 : 0o644), 100, 8);
  octal(member.uid ?? 0, 108, 8);
  octal(member.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(member.mtime ?? 1_600_000_000, 136, 12);
  out.write(member.type ?? (member.name.endsWith("/") ? "5" : "0"), 156, 1, "latin1");
  out.write(member.linkName ?? "", 157, 100, "latin1");
  out.write("ustar\u000000", 257, 8, "latin1");
  octal(member.major ?? 0, 329, 8);
  octal(member.minor ?? 0, 337, 8);
  for (const [at, bytes] of Object.entries(member.patch ?? {}))
    Buffer.from(bytes as string, "latin1").copy(out, Number(at));
  out.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of out) sum += byte;
  out.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8, "latin1");
  return out;
}
