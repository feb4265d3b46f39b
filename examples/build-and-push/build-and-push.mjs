// Builds a directory and pushes the image, from a script.
//
//   node build-and-push.mjs CONTEXT DESTINATION
//
// Credentials come from where `cooper login` or `podman login` left them, or from REGISTRY_CREDS=user:password;
// REGISTRY_CERTS names a directory with the registry's ca.crt.
import { openCooper } from "cooperage";

const [contextDir, destination] = process.argv.slice(2);
if (contextDir === undefined || destination === undefined) {
  console.error("usage: build-and-push.mjs CONTEXT DESTINATION");
  process.exit(2);
}

const { REGISTRY_CREDS: creds, REGISTRY_CERTS: certDir } = process.env;
const transfer = { ...(creds && { creds }), ...(certDir && { certDir }) };

// Ctrl-C ends the running step, with every process in it.
const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());

const cooper = await openCooper();
try {
  const { imageId, steps } = await cooper.build({
    ...transfer,
    contextDir,
    tags: [destination],
    signal: interrupted.signal,
    onEvent: report,
  });
  console.log(`built ${imageId}: ${steps.cached} steps from the cache, ${steps.built} run`);

  const { digest } = await cooper.push(destination, destination, { ...transfer, signal: interrupted.signal });
  console.log(`pushed ${destination}@${digest}`);
} catch (error) {
  // What a user can cause has a code and one clear line; everything else is a bug and keeps its stack.
  if (error.code === undefined) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await cooper[Symbol.asyncDispose]();
}

function report(event) {
  if (event.type === "step-start") console.error(`${event.step.index}/${event.step.steps} ${event.text}`);
  if (event.type === "output") process.stderr.write(event.chunk);
}
