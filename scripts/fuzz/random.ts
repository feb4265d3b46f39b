/** Numbers that depend on nothing but the seed. */
export interface Random {
  /** A whole number in `[0, limit)`; 0 for a limit of 0. */
  below(limit: number): number;
  /** True once in `times` calls, on average. */
  oneIn(times: number): boolean;
  pick<T>(list: readonly [T, ...T[]] | readonly T[]): T;
}

/** One sequence for each combination of a seed, a name and a number. */
export function createRandom(seed: number, name: string, index: number): Random {
  let state = mix(seed ^ mix(index));
  for (const char of name) state = mix(state ^ char.charCodeAt(0));
  const below = (limit: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    return limit > 0 ? (mix(state) >>> 0) % limit : 0;
  };
  return {
    below,
    oneIn: (times) => below(times) === 0,
    pick(list) {
      const found = list[below(list.length)];
      if (found === undefined) throw new Error("nothing to pick from");
      return found;
    },
  };
}

/** Spreads the bits of a 32-bit number (the last step of MurmurHash3). */
function mix(value: number): number {
  let bits = value;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
