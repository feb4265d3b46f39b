import { type Corpus, readCorpus } from "./corpus.js";
import { minimised } from "./minimise.js";
import { mutated } from "./mutate.js";
import { createRandom } from "./random.js";
import { type Target, targets } from "./targets.js";

export interface FuzzOptions {
  /** The checkout, whose fixtures are the corpus. */
  readonly root: string;
  /** Keys of `targets`. */
  readonly targets: readonly string[];
  /** The same seed gives the same inputs, in the same order. */
  readonly seed: number;
  /** Inputs for each target; as many as time allows when missing. */
  readonly runs?: number;
  /** Ends between two inputs once `Date.now()` is past this. */
  readonly until?: number;
  /** Whether a text that takes too long is a finding; then what a busy machine does may count. Default: yes. */
  readonly timed?: boolean;
  readonly onFinding?: (finding: Finding) => void;
}

/** An input that breaks a property. */
export interface Finding {
  readonly target: string;
  readonly seed: number;
  /** The number of the input among those of its target, from 0. */
  readonly index: number;
  /** What is wrong, in the words of the check or the exception with its stack. */
  readonly fault: string;
  readonly input: string;
  /** The input with everything left out that the fault does not need. */
  readonly minimal: string;
}

export interface FuzzResult {
  readonly findings: readonly Finding[];
  /** How many inputs each target was given. */
  readonly inputs: Readonly<Record<string, number>>;
}

/** What a text may cost in processor time: 2 s a megabyte, what a broken instruction costs for each line, and noise. */
const MICROSECONDS_PER_UNIT = 2;
const MICROSECONDS_PER_LINE = 150;
const MICROSECONDS_AT_LEAST = 300_000;
const MOST_MEMORY = 1.5 * 1024 ** 3;
/** One fault found again and again says nothing new. */
const MOST_FINDINGS = 20;

/** Gives the targets mutated texts in turn, and says which of them break a property. */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const { seed, runs = Infinity, until = Infinity, timed = true } = options;
  const running = options.targets.map((name) => {
    const target = targets[name];
    if (!target) throw new Error(`there is no target ${name}`);
    return { name, target, corpus: readCorpus(options.root, target.corpus) };
  });
  const findings: Finding[] = [];
  const seen = new Set<string>();
  const inputs: Record<string, number> = {};
  for (let index = 0; index < runs && Date.now() < until && findings.length < MOST_FINDINGS; index++) {
    for (const { name, target, corpus } of running) {
      inputs[name] = index + 1;
      const input = inputOf(corpus, seed, name, index);
      const fault = await faultOf(target, input, timed);
      if (fault === undefined || seen.has(kindOf(fault))) continue;
      seen.add(kindOf(fault));
      const isSame = async (text: string): Promise<boolean> =>
        kindOf((await faultOf(target, text, timed)) ?? "") === kindOf(fault);
      const finding = { target: name, seed, index, fault, input, minimal: await minimised(input, isSame) };
      findings.push(finding);
      options.onFinding?.(finding);
    }
  }
  return { findings, inputs };
}

function inputOf(corpus: Corpus, seed: number, target: string, index: number): string {
  return mutated(corpus, createRandom(seed, target, index));
}

/** What is wrong with how a target takes a text; undefined when nothing is. */
async function faultOf({ check }: Target, text: string, timed: boolean): Promise<string | undefined> {
  const used = await cost(check, text);
  if (typeof used === "string") return used;
  const lines = MICROSECONDS_PER_LINE * text.split("\n").length;
  const allowed = MICROSECONDS_AT_LEAST + MICROSECONDS_PER_UNIT * text.length + lines;
  if (timed && used > allowed) {
    // A collection of garbage is nobody's fault; what is slow is slow again.
    const again = [await cost(check, text), await cost(check, text)];
    if (again.every((one) => typeof one === "number" && one > allowed)) {
      return `too slow: more than ${Math.round(allowed / 1000)} ms for ${text.length} characters`;
    }
  }
  const memory = process.memoryUsage.rss();
  return memory > MOST_MEMORY ? `too much memory: ${Math.round(memory / 1024 ** 2)} MiB` : undefined;
}

/** Microseconds of processor time, or what was wrong. */
async function cost(check: Target["check"], text: string): Promise<number | string> {
  const before = process.cpuUsage();
  try {
    await check(text);
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** A fault without what differs from input to input: the first words of it, and where it was thrown. */
function kindOf(fault: string): string {
  const [message = "", ...stack] = fault.split("\n");
  const thrown = stack.find((line) => line.trimStart().startsWith("at ")) ?? "";
  return `${message.split(/[:"{\d]/, 2).join(":")} ${thrown.trim()}`;
}
