/** A process that shares a directory with the test: argv[2] is `<dir>/tmp`'s parent, argv[3] what to do. */
import { mkdirSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  acquireLease,
  claimOwner,
  leaseHolder,
  ownerIsAlive,
  ownerIsAliveAsync,
  stagedDirectory,
  sweep,
} from "../../src/fs/index.js";

const [, , dir = "", job = "", token = ""] = process.argv;
const locks = join(dir, "locks");
const tmp = join(dir, "tmp");
const say = (text: string): void => void writeSync(1, `${text}\n`);
const forever = (): void => void setInterval(() => undefined, 1000);

switch (job) {
  case "hold": {
    const owner = claimOwner(locks);
    const staged = stagedDirectory(tmp, owner);
    writeFileSync(join(staged.path, "file"), "x");
    acquireLease(join(locks, "it"), { owner, socketDir: locks, tempDir: tmp, waitMs: 0, what: "it" });
    say(owner.token);
    forever();
    break;
  }
  case "judge":
    say(
      `${ownerIsAlive(token, locks, locks)} ${await ownerIsAliveAsync(token, locks, locks)} ${await sweep(tmp, locks)}`,
    );
    break;
  case "count": {
    const owner = claimOwner(locks);
    for (let i = 0; i < 50; i += 1) {
      using _lease = acquireLease(join(locks, "it"), {
        owner,
        socketDir: locks,
        tempDir: tmp,
        waitMs: 60_000,
        what: "it",
      });
      // Only one at a time can make it.
      mkdirSync(join(dir, "alone"));
      if (leaseHolder(join(locks, "it")) !== owner.token) throw new Error("not the holder");
      const { rmdirSync } = process.getBuiltinModule("node:fs");
      rmdirSync(join(dir, "alone"));
      if (Number(token) > 0 && i === Number(token)) process.kill(process.pid, "SIGKILL");
    }
    say("done");
    break;
  }
}
