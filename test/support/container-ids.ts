import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
  writeFileSync,
} from "node:fs";
import { syscall, trySyscall } from "../../src/runtime/syscalls.js";

/** Beyond everything that useradd hands out. */
const LINE = "containers:2147483648:1073741824\n";
/** Whoever runs tests has it locked with others; it holds something while the lines are a test's. */
const CLAIM = "/run/cooper-test-ids";
const [LOCK_SH, LOCK_EX, LOCK_NB] = [1, 2, 4];

/**
 * Sets ids aside for the user "containers", for as long as any tests run, where root has not done so: that is what an
 * administrator does for `--userns=auto`. Returns what takes them away again when nobody else is at it.
 */
export function giveContainersIds(): () => void {
  if (process.getuid?.() !== 0) return () => undefined;
  const claim = openSync(CLAIM, "a+", 0o600);
  syscall("flock", CLAIM, claim, LOCK_SH);
  const files = ["/etc/subuid", "/etc/subgid"].filter(existsSync);
  for (const file of files) {
    const text = readFileSync(file, "utf8");
    if (/^containers:/m.test(text)) continue;
    replaceFile(file, text + LINE);
    writeSync(claim, `${file}\n`);
  }
  return () => {
    const isLast = trySyscall("flock", claim, LOCK_EX | LOCK_NB) === 0;
    if (isLast && fstatSync(claim).size > 0) {
      for (const file of files) replaceFile(file, readFileSync(file, "utf8").replaceAll(LINE, ""));
      ftruncateSync(claim);
    }
    closeSync(claim);
  };
}

/** At once, since others read it meanwhile. */
function replaceFile(file: string, text: string): void {
  const { mode } = statSync(file);
  const temporary = `${file}.cooper-test`;
  writeFileSync(temporary, text);
  chmodSync(temporary, mode & 0o7777);
  renameSync(temporary, file);
}
