// `npm run demo`: what cooper does, in a minute, on this machine and nothing but this machine. Everything it writes is in
// one temp directory that is gone at the end. Needs util-linux and either root or user namespaces; no registry, no network.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const project = fileURLToPath(new URL("..", import.meta.url));
const command = join(project, "dist/cooper.cjs");

/** Programs of this machine that the base image is made of. */
const programs = ["sh", "cat", "chmod", "ls", "mkdir", "sort", "wc"];

/** A failed command ends the demo; it has said why itself. */
class DemoStopped extends Error {}

function main() {
  if (!existsSync(command))
    execFileSync(process.execPath, [join(project, "scripts/build.mjs"), "--fast"], { stdio: "inherit" });
  const home = mkdtempSync(join(tmpdir(), "cooper-demo-"));
  try {
    show(home);
  } catch (error) {
    if (!(error instanceof DemoStopped)) throw error;
    process.exitCode = 1;
    if (process.geteuid() !== 0)
      note("Without root, cooper needs user namespaces: the line above says what is missing.");
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

function show(home) {
  title("A base image, out of this machine's own shell and libraries");
  makeBaseContext(join(home, "base"));
  cooper(home, "build", "-t", "demo-base", "base");

  title("examples/hello: two stages, RUN, COPY, a .containerignore");
  cpSync(join(project, "examples/hello"), join(home, "hello"), { recursive: true });
  cooper(home, "build", "-t", "hello", "hello");

  title("The same again: every step comes from the cache");
  cooper(home, "build", "-t", "hello", "hello");

  title("An ignored file changes: still nothing to do");
  shell(home, "echo 'One more idea.' >> hello/notes/ideas.txt");
  cooper(home, "build", "-q", "-t", "hello", "hello");

  title("One source file changes: only what depends on it is built, and cooper says why");
  shell(home, "sed -i 's/line!/line, and welcome!/' hello/hello.sh");
  cooper(home, "build", "-t", "hello", "hello");

  title("The images");
  cooper(home, "images");

  title("The result runs");
  cooper(home, "run", "--rm", "hello");
  cooper(home, "run", "--rm", "-e", "GREETING=Good morning", "hello");

  title("An archive that podman, skopeo, docker and every registry tool can read");
  cooper(home, "save", "--format", "oci-archive", "-o", "hello.tar", "hello");
  process.stdout.write(`  hello.tar, ${Math.round(statSync(join(home, "hello.tar")).size / 1000)} kB\n`);

  note(
    `Your turn: node dist/cooper.cjs build -t NAME DIRECTORY     (all commands: node dist/cooper.cjs --help)`,
  );
}

/** Runs one command in the demo's directory with the demo's store, after showing it. Throws DemoStopped when it fails. */
function cooper(home, ...args) {
  process.stdout.write(
    paint("1", `$ cooper ${args.map((arg) => (arg.includes(" ") ? `"${arg}"` : arg)).join(" ")}\n`),
  );
  const started = performance.now();
  const { status, signal } = spawnSync(process.execPath, [command, ...args], {
    cwd: home,
    env: { ...process.env, COOPER_ROOT: join(home, "store") },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new DemoStopped(signal ?? `exit ${status}`);
  process.stdout.write(paint("2", `  (${((performance.now() - started) / 1000).toFixed(2)} s)\n`));
}

function shell(home, line) {
  process.stdout.write(paint("1", `$ ${line}\n`));
  execFileSync("sh", ["-c", line], { cwd: home });
}

/** A context of a root file system with a shell, and the Containerfile that makes an image of it. */
function makeBaseContext(dir) {
  const root = join(dir, "rootfs");
  for (const part of ["bin", "etc", "tmp", "usr/bin"]) mkdirSync(join(root, part), { recursive: true });
  chmodSync(join(root, "tmp"), 0o1777);
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  const files = new Set();
  for (const name of programs) {
    const path = findProgram(name);
    copyInto(path, join(root, "bin", name));
    for (const library of librariesOf(path)) files.add(library);
  }
  for (const file of files) copyInto(file, join(root, file));
  writeFileSync(
    join(dir, "Containerfile"),
    'FROM scratch\nCOPY rootfs /\nENV PATH=/usr/bin:/bin\nCMD ["sh"]\n',
  );
}

function findProgram(name) {
  const found = ["/bin", "/usr/bin"].map((dir) => join(dir, name)).find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`the demo needs ${name}, and it is neither in /bin nor in /usr/bin`);
  return found;
}

/** The shared libraries of a program, its loader among them; none for a static one, where ldd fails. */
function librariesOf(path) {
  const { stdout } = spawnSync("ldd", [path], { encoding: "utf8" });
  return [...(stdout ?? "").matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map(([, library]) => library);
}

/** Copies what a link points to, under the link's own name. */
function copyInto(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
  chmodSync(to, 0o755);
}

function title(text) {
  process.stdout.write(`\n${paint("1;36", `# ${text}`)}\n`);
}

function note(text) {
  process.stdout.write(`\n${text}\n`);
}

function paint(codes, text) {
  return process.stdout.isTTY && process.env.NO_COLOR === undefined
    ? `\u001b[${codes}m${text}\u001b[0m`
    : text;
}

main();
