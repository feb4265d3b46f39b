import { posix } from "node:path";
import { CooperError } from "../../errors.js";
import type { SecretMount } from "../../parser/index.js";
import { componentOf, targetIn } from "./common.js";
import type { MountSite } from "./index.js";
import { notGiven } from "./not-given.js";
import type { MountWork, OpenMount, PreparedMount } from "./types.js";
import { plainMount } from "./types.js";

/** A secret's value goes to the process alone: it is no part of a key, a layer, the history or a message. */
export function prepareSecret(mount: SecretMount, site: MountSite): PreparedMount {
  return { components: [componentOf(mount, site)], open: async (work) => open(mount, site, work) };
}

function open(mount: SecretMount, site: MountSite, { engine }: MountWork): OpenMount {
  const { id, target, env, mode = 0o400, uid = 0, gid = 0 } = mount;
  const content = engine.secret(id);
  if (content === undefined) {
    if (!mount.required) return plainMount([]);
    throw notGiven("secret", id);
  }
  if (env !== undefined && content.includes(0))
    throw new CooperError("usage", `RUN --mount: secret "${id}" holds a NUL byte: no variable can hold that`);
  return plainMount(
    target === undefined
      ? []
      : [
          {
            type: "secret",
            content,
            target: posix.normalize(targetIn(site, target)),
            readOnly: mount.readOnly,
            mode,
            uid,
            gid,
          },
        ],
    env === undefined ? {} : { [env]: Buffer.from(content).toString("utf8") },
  );
}
