import { posix } from "node:path";
import type { KeyComponent } from "../../cache/index.js";
import type { RunMount } from "../../parser/index.js";
import type { MountOption } from "../../runtime/index.js";
import type { MountSite } from "./index.js";

/** A target of a mount, absolute. */
export function targetIn(site: MountSite, target: string): string {
  return posix.resolve(site.workdir, target);
}

/** What every mount that has a target says of itself. */
export function commonOf(
  mount: RunMount & { readonly target: string },
  site: MountSite,
): { readonly target: string; readonly readOnly: boolean; readonly options: readonly MountOption[] } {
  return {
    target: targetIn(site, mount.target),
    readOnly: mount.readOnly,
    options: mount.options as readonly MountOption[],
  };
}

/** All that the mount says, as a part of the step's key. `more`: what it says by a name, such as the layers of a stage. */
export function componentOf(mount: RunMount, site: MountSite, more: readonly string[] = []): KeyComponent {
  const said = Object.entries(mount)
    // A name of a stage or image says nothing of what it holds.
    .filter(([key]) => key !== "from" && key !== "target")
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const target = mount.target === undefined ? "" : targetIn(site, mount.target);
  const shown = target === "" && "env" in mount ? `env=${mount.env ?? ""}` : `target=${target}`;
  return {
    name: `mount ${site.index}`,
    value: JSON.stringify([said, target, more]),
    label: `--mount=type=${mount.type},${shown}`,
  };
}
