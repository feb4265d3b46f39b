import type { DiffId } from "../../src/image/index.js";
import { treeSyscalls } from "../../src/runtime/index.js";
import { openSnapshotter } from "../../src/snapshot/index.js";
import { checkStore, openStore } from "../../src/store/index.js";
import { bytesOfStream } from "../snapshot/room.js";

/** What `checkStore` finds in a store of root's that nobody has open. `trees`: each is read and must make its layer's tar. */
export async function problemsOf(root: string, { trees = true } = {}): Promise<readonly string[]> {
  await using store = openStore(root, { userNamespace: false });
  const home = { home: store.layers, syscalls: treeSyscalls, userNamespace: false };
  await using snapshots = openSnapshotter({ ...home, rootfs: "overlay" });
  const checkTree = (diffId: DiffId): Promise<string | undefined> =>
    bytesOfStream(snapshots.tar(diffId)).then(
      () => undefined,
      (error: Error) => error.message,
    );
  return (await checkStore(store, trees ? { checkTree } : {})).map(
    ({ object, problem }) => `${object}: ${problem}`,
  );
}
