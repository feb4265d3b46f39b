import { existsSync, lstatSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** What a path answers with; status 200 unless said. */
export interface Reply {
  readonly body: Uint8Array | string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A server on loopback that answers from a map of paths and from a directory, and remembers what it was asked. */
export interface Site extends AsyncDisposable {
  readonly url: string;
  readonly replies: Map<string, Reply>;
  readonly asked: string[];
}

/** Opens a site that serves `replies`, then the files of `dir`, and 404 for all else. */
export async function openSite(dir?: string): Promise<Site> {
  const replies = new Map<string, Reply>();
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0] ?? "/";
    asked.push(path);
    const file = dir === undefined ? "" : join(dir, path);
    const reply: Reply | undefined =
      replies.get(path) ??
      (existsSync(file) && lstatSync(file).isFile() ? { body: readFileSync(file) } : undefined);
    response.writeHead(reply ? (reply.status ?? 200) : 404, reply?.headers);
    response.end(reply?.body ?? "not here");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    replies,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
