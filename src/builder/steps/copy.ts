import type { KeyComponent } from "../../cache/index.js";
import { withoutUrlSecrets } from "../../errors.js";
import { digestOf } from "../../image/index.js";
import type { CopyInstruction } from "../../parser/index.js";
import type { CopyInputs } from "../copy/inputs.js";
import { copyInputs } from "../copy/inputs.js";
import type { CopyRequest } from "../copy/request.js";
import { requestOf } from "../copy/request.js";
import type { Selected } from "../copy/select.js";
import type { CopyOrigin } from "../copy/sources.js";
import { findRemotes, localWanted, selectAll } from "../copy/sources.js";
import { writeCopy } from "../copy/write.js";
import type { BuildEngine } from "../engine.js";
import type { StageState } from "../state.js";
import { isNumericOwner } from "../users.js";
import type { Expansion } from "../expand.js";
import type { PreparedStep, StepSite } from "./step.js";

/** Prepares a COPY or ADD: finds the files and their digests for the key. Executing it writes them as a layer. */
export async function prepareCopy(
  instruction: CopyInstruction,
  state: StageState,
  site: StepSite,
  at: Expansion,
  origin: CopyOrigin,
  engine: BuildEngine,
): Promise<PreparedStep> {
  const request = requestOf(instruction, state, at);
  const remotes = await findRemotes(request, engine);
  const { inputs, selected } = await inputsOf(request, origin, engine);
  const { selection, files } = inputs;
  // Names of users are looked up in the image below, which then decides what is in the layer.
  const isIndependent = request.link && (request.chown === undefined || isNumericOwner(request.chown));
  return {
    components: [
      ...keyOf(request),
      { name: "selection", value: selection, label: "the set of sources" },
      ...[...remotes].map(([word, { identity }]) => ({
        name: `remote ${word}`,
        value: identity,
        label: withoutUrlSecrets(request.words[word] ?? ""),
      })),
    ],
    ...(isIndependent ? { isIndependent } : {}),
    files,
    createdBy: site.text,
    execute: () => writeCopy({ request, state, origin, selected, remotes, engine }),
  };
}

/** `selected` stays for the execution when the source may change meanwhile: what is copied is then what the key tells of. */
interface Examined {
  readonly inputs: CopyInputs;
  readonly selected?: readonly Selected[];
}

/** Inputs of a stage or image are remembered by its layers: a cached build reads no file of them. */
async function inputsOf(request: CopyRequest, origin: CopyOrigin, engine: BuildEngine): Promise<Examined> {
  if (origin.chain === undefined) {
    const source = await origin.open();
    const selected = selectAll(source, request);
    return { inputs: copyInputs(source, selected), selected };
  }
  const memo = digestOf(JSON.stringify(["copy-inputs", origin.chain, localWanted(request)]));
  const known = engine.cache.memo(memo);
  if (known !== undefined) return { inputs: JSON.parse(known) as CopyInputs };
  engine.requirePrivileges();
  const source = await origin.open();
  try {
    const inputs = copyInputs(source, selectAll(source, request));
    engine.cache.setMemo(memo, JSON.stringify(inputs));
    return { inputs };
  } finally {
    source[Symbol.dispose]?.();
  }
}

function keyOf(request: CopyRequest): readonly KeyComponent[] {
  return [
    {
      name: "copy",
      value: JSON.stringify([request.verb, request.words.map(withoutUrlSecrets), request.from]),
      label: "the instruction",
    },
    { name: "destination", value: request.destination, label: "the destination" },
    { name: "chown", value: request.chown ?? "", label: "--chown" },
    { name: "chmod", value: request.chmodText ?? "", label: "--chmod" },
    { name: "heredocs", value: JSON.stringify(request.heredocs), label: "the here-document" },
    ...(request.link ? [{ name: "link", value: "true", label: "--link" }] : []),
    ...(request.parents ? [{ name: "parents", value: "true", label: "--parents" }] : []),
    ...(request.unpack === undefined
      ? []
      : [{ name: "unpack", value: String(request.unpack), label: "--unpack" }]),
  ];
}
