import { CooperError } from "../../errors.js";
import type { CooperErrorOptions } from "../../errors.js";

/** A mount requires what the build was not given. */
export function notGiven(
  type: "secret" | "ssh",
  id: string,
  place: Pick<CooperErrorOptions, "source" | "span"> = {},
): CooperError {
  const ssh = id === "default" ? "--ssh default" : `--ssh ${id}=SOCKET-OR-KEY`;
  const [what, flag] =
    type === "secret"
      ? ["secret", `--secret id=${id},src=FILE or --secret id=${id},env=VARIABLE`]
      : ["ssh agent", ssh];
  return new CooperError("not-found", `RUN --mount: ${what} "${id}" was not given`, {
    ...place,
    hint: `give it: ${flag}`,
  });
}
