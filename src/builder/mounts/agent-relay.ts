import { rmSync } from "node:fs";
import type { Socket } from "node:net";
import { connect, createServer } from "node:net";
import { ioError } from "../../errors.js";
import { socketPath } from "../../fs/index.js";

/** What may be asked: the list of public keys, and a signature. Source: draft-miller-ssh-agent, "Message numbers". */
const ALLOWED: readonly number[] = [11, 13];
const FAILURE = Buffer.from([0, 0, 0, 1, 5]);
/** Longer messages than OpenSSH takes are no requests. */
const MAX_MESSAGE = 256 * 1024;

/**
 * Listens at `path` and passes what is asked there to the agent at `upstream`, but for whatever would change that agent:
 * a step may sign with the user's keys, and neither add, remove nor lock any. Disposing ends every connection.
 */
export async function relayAgent(path: string, upstream: string): Promise<AsyncDisposable> {
  const open = new Set<Socket>();
  const [here, there] = [socketPath(path), socketPath(upstream)];
  const server = createServer((client) => {
    const agent = connect(there.path);
    for (const socket of [client, agent]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    }
    const end = (): void => {
      client.destroy();
      agent.destroy();
    };
    for (const socket of [client, agent]) socket.on("error", end).on("close", end);
    agent.on("data", (bytes: Buffer) => client.write(bytes));
    onMessages(client, end, (message) => {
      if (ALLOWED.includes(message[4] ?? 0)) agent.write(message);
      else client.write(FAILURE);
    });
  });
  const close = (): void => {
    for (const each of [here, there]) each[Symbol.dispose]();
  };
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      close();
      reject(ioError("listen at", path, error));
    });
    server.listen(here.path, resolve);
  });
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      close();
      rmSync(path, { force: true });
    },
  };
}

/** Cuts what comes into messages, each with its length in front. */
function onMessages(from: Socket, refuse: () => void, take: (message: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  from.on("data", (bytes: Buffer) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 4) {
      const length = rest.readUInt32BE(0);
      if (length === 0 || length > MAX_MESSAGE) return refuse();
      if (rest.length < 4 + length) return;
      take(rest.subarray(0, 4 + length));
      rest = rest.subarray(4 + length);
    }
  });
}
