/** Works on a store until it is done or killed: argv[2] is the store, argv[3] the job, argv[4] how many rounds. Says on stdout what it has finished. */
import { mkdirSync, writeSync } from "node:fs";
import { dropBallast, loadBallast } from "../../src/store/ballast.js";
import { storePaths } from "../../src/store/paths.js";
import { addLayer, addTestBlob, nameOf, newImage, openTestStore } from "./support.js";

const [, , root = "", job = "build", rounds = "2"] = process.argv;
const say = (line: string): void => void writeSync(1, `${line}\n`);

async function build(): Promise<void> {
  for (let round = 1; round <= Number(rounds); round += 1) {
    const store = openTestStore(root);
    const layers = [await addLayer(store, "base"), await addLayer(store, `layer ${round}`)];
    for (const layer of layers)
      store.layers.rememberBlob(layer, await addTestBlob(store, `compressed ${layer}`));
    store.addImage(newImage(layers.slice(0, 1), ["base"], { intermediate: true }));
    const image = store.addImage(newImage(layers, ["base", String(round)]));
    say(`image ${image.id}`);
    store.tag(nameOf(`app:${round}`), image.id);
    store.tag(nameOf("app"), image.id);
    say(`tagged app:${round} ${image.id}`);
    await store[Symbol.asyncDispose]();
  }
}

async function remove(): Promise<void> {
  const store = openTestStore(root);
  await store.remove(["app:1", "app:2", "app"], { force: true });
  await store[Symbol.asyncDispose]();
  say("removed");
}

async function soak(): Promise<void> {
  const end = performance.now() + 4000;
  for (let i = 0; performance.now() < end; i += 1) {
    const store = openTestStore(root);
    const own = `${process.pid} ${i}`;
    const layers = [
      await addLayer(store, "base"),
      await addLayer(store, `shared ${i % 3}`),
      await addLayer(store, own),
    ];
    store.layers.rememberBlob(
      await addLayer(store, `shared ${i % 3}`),
      await addTestBlob(store, `compressed ${i % 3}`),
    );
    const step = store.addImage(
      newImage(layers.slice(0, 2), ["base", `shared ${i % 3}`], { intermediate: true }),
    );
    const shared = store.addImage(newImage(layers.slice(0, 2), ["base", `shared ${i % 3}`, "CMD"]));
    const image = store.addImage(newImage(layers, ["base", `shared ${i % 3}`, own]));
    store.tag(nameOf(`own-${process.pid}`), image.id);
    store.tag(nameOf("latest"), shared.id);
    store.image(step.id);
    store.images();
    for (const layer of layers)
      if (!store.layers.dir(layer)) throw new Error(`layer ${layer} was taken away`);
    await store[Symbol.asyncDispose]();
    say(`built ${i}`);
  }
}

async function prune(): Promise<void> {
  const end = performance.now() + 4000;
  for (let i = 0; performance.now() < end; i += 1) {
    const store = openTestStore(root);
    for (const name of store.names().keys()) {
      try {
        await store.remove([name], { force: false });
      } catch (error) {
        const { code } = error as { code?: string };
        // Somebody else removed it first, or is naming it just now.
        if (code !== "not-found" && code !== "in-use") throw error;
      }
    }
    await store[Symbol.asyncDispose]();
    say(`pruned ${i}`);
  }
}

/** Takes the ballast and gives it back, as those do that find the disk full. */
function ballast(): Promise<void> {
  const paths = storePaths(root);
  mkdirSync(paths.locks, { recursive: true });
  for (let i = 0; i < 2000; i += 1) {
    loadBallast(paths);
    dropBallast(paths);
  }
  return Promise.resolve();
}

const jobs: Readonly<Record<string, () => Promise<void>>> = { build, remove, soak, prune, ballast };
await jobs[job]?.();
