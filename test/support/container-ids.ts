import { existsSync, readFileSync, writeFileSync } from "node:fs";

/** Beyond everything that useradd hands out. */
const LINE = "containers:2147483648:1073741824\n";

/**
 * Sets ids aside for the user "containers", for as long as tests run, where root has not done so: that is what an
 * administrator does for `--userns=auto`. Returns what takes them away again.
 */
export function giveContainersIds(): () => void {
  if (process.getuid?.() !== 0) return () => undefined;
  const files = ["/etc/subuid", "/etc/subgid"].filter(
    (file) => existsSync(file) && !/^containers:/m.test(readFileSync(file, "utf8")),
  );
  for (const file of files) writeFileSync(file, LINE, { flag: "a" });
  return () => {
    for (const file of files) writeFileSync(file, readFileSync(file, "utf8").replace(LINE, ""));
  };
}
