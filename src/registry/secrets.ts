/** The secrets that this process holds, so that no text that leaves the room shows one. */
export interface Secrets {
  add(...secrets: readonly (string | undefined)[]): void;
  /** The text with every secret, also in base64 and URL encoding, replaced by `***`. */
  scrub(text: string): string;
}

/** An empty set of secrets. */
export function openSecrets(): Secrets {
  const known = new Set<string>();
  return {
    add(...secrets) {
      // A one or two letter "secret" would only tear holes into messages.
      for (const secret of secrets) {
        if (secret === undefined || secret.length < 3) continue;
        for (const form of [secret, Buffer.from(secret).toString("base64"), encodeURIComponent(secret)])
          known.add(form);
      }
    },
    scrub(text) {
      // Longest first: a secret may hold another one.
      const longestFirst = [...known].toSorted((a, b) => b.length - a.length);
      return longestFirst.reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
    },
  };
}
