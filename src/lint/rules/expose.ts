import type { Word } from "../../parser/index.js";
import type { Environment } from "../environment.js";
import { sourceOf, spanAt } from "../places.js";
import type { StepRule } from "../rule.js";

export const exposeProtoCasing: StepRule = {
  rule: {
    name: "ExposeProtoCasing",
    origin: "BuildKit",
    says: "The protocol of EXPOSE is in lower case",
    why: "The image says it in lower case in any case.",
    bad: "FROM scratch\nEXPOSE 80/TCP",
    good: "FROM scratch\nEXPOSE 80/tcp",
    fixes: true,
  },
  *find({ source, instruction, environment }) {
    if (instruction.kind !== "EXPOSE") return;
    for (const word of instruction.words) {
      for (const port of ports(word, environment)) {
        const protocol = port.slice(port.indexOf("/") + 1);
        const wanted = protocol.toLowerCase();
        if (!port.includes("/") || protocol === wanted || !PROTOCOLS.includes(wanted)) continue;
        const { span } = word;
        const plain = sourceOf(source, span) === port;
        const place = plain ? spanAt(source, span, span.end - protocol.length, span.end) : span;
        yield {
          rule: "ExposeProtoCasing",
          message: `the protocol of "${port}" should be in lower case`,
          span: place,
          hint: `write ${wanted}`,
          ...(plain ? { fix: [{ start: place.start, end: place.end, text: wanted }] } : {}),
        };
      }
    }
  },
};

const PROTOCOLS = ["tcp", "udp", "sctp"];

export const exposeInvalidFormat: StepRule = {
  rule: {
    name: "ExposeInvalidFormat",
    origin: "BuildKit",
    says: "EXPOSE names ports of the container only",
    why: "Addresses and ports of the host belong to `run --publish`; an image does not decide them.",
    bad: "FROM scratch\nEXPOSE 127.0.0.1:80:80",
    good: "FROM scratch\nEXPOSE 80",
    fixes: false,
  },
  *find({ instruction, environment }) {
    if (instruction.kind !== "EXPOSE") return;
    for (const word of instruction.words) {
      for (const port of ports(word, environment)) {
        const colon = port.lastIndexOf(":");
        if (!/[^:]/.test(port.slice(0, Math.max(0, colon))) || port.endsWith(":")) continue;
        yield {
          rule: "ExposeInvalidFormat",
          message: `"${port}" names an address or a port of the host`,
          span: word.span,
          hint: `write ${port.slice(colon + 1)}`,
        };
      }
    }
  },
};

/** The ports that a word gives, its variables filled in; none when they are not known. */
function ports({ text }: Word, environment: Environment): readonly string[] {
  return (environment.expand(text) ?? "").split(/\s+/).filter((port) => port !== "");
}
