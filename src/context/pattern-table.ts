/**
 * The numbers of the lines that say the same, sorted: those that hide what they match, and those (with "!") that bring
 * it back. Equal lines are one entry, so that a path is compared once however often a file repeats them.
 */
export class PatternOrders {
  #lastHiding = -1;
  #lastKeeping = -1;
  /** All of each kind; missing for the many that are one line. */
  #hiding: number[] | undefined;
  #keeping: number[] | undefined;

  /** Of lines in a row of its kind (from `runStart` on) only the first can ever decide; the others are left out. */
  add(order: number, reincludes: boolean, runStart: number): void {
    const last = this.last(reincludes);
    if (last >= runStart) return;
    if (reincludes) this.#lastKeeping = order;
    else this.#lastHiding = order;
    if (last < 0) return;
    if (reincludes) (this.#keeping ??= [last]).push(order);
    else (this.#hiding ??= [last]).push(order);
  }

  /** The number of the last line of a kind; -1 for none. */
  last(reincludes: boolean): number {
    return reincludes ? this.#lastKeeping : this.#lastHiding;
  }

  /** The number of the first line of a kind after `order`; Infinity for none. */
  firstAfter(order: number, reincludes: boolean): number {
    const last = this.last(reincludes);
    if (last <= order) return Infinity;
    const orders = (reincludes ? this.#keeping : this.#hiding) ?? [];
    let low = 0;
    for (let high = orders.length; low < high;) {
      const middle = (low + high) >>> 1;
      if ((orders[middle] ?? 0) > order) high = middle;
      else low = middle + 1;
    }
    return orders[low] ?? last;
  }
}

/** Texts and the lines that each stands for. */
export class TextTable {
  readonly #byText = new Map<string, PatternOrders>();

  get isEmpty(): boolean {
    return this.#byText.size === 0;
  }

  ordersOf(text: string): PatternOrders {
    let orders = this.#byText.get(text);
    if (!orders) this.#byText.set(text, (orders = new PatternOrders()));
    return orders;
  }

  find(text: string, found: PatternOrders[]): void {
    const orders = this.#byText.get(text);
    if (orders) found.push(orders);
  }
}

/** Literal ends of names and the lines that each stands for; found by their lengths, of which there are few. */
export class EndingTable {
  readonly #byText = new TextTable();
  readonly #lengths = new Set<number>();

  ordersOf(text: string): PatternOrders {
    this.#lengths.add(text.length);
    return this.#byText.ordersOf(text);
  }

  find(name: string, found: PatternOrders[]): void {
    for (const length of this.#lengths)
      if (length <= name.length) this.#byText.find(name.slice(name.length - length), found);
  }
}

/** A pattern that no table answers: it is compared with each path, and only where the path has its ends. */
export interface LoosePattern {
  readonly orders: PatternOrders;
  /** What every path that it matches begins and ends with. */
  readonly head: string;
  readonly tail: string;
  matches(path: string, runes: () => readonly number[]): boolean;
  couldMatchBelow(dir: string): boolean;
}

/** Loose patterns, one for each text, sorted by the longer one of their ends. */
export class LooseTable {
  readonly #byText = new Map<string, LoosePattern>();
  readonly #byHead = new Map<string, LoosePattern[]>();
  readonly #byTail = new Map<string, LoosePattern[]>();
  readonly #headLengths = new Set<number>();
  readonly #tailLengths = new Set<number>();

  ordersOf(text: string, make: (orders: PatternOrders) => LoosePattern): PatternOrders {
    const known = this.#byText.get(text);
    if (known) return known.orders;
    const pattern = make(new PatternOrders());
    this.#byText.set(text, pattern);
    const byHead = pattern.head.length >= pattern.tail.length;
    const end = byHead ? pattern.head : pattern.tail;
    (byHead ? this.#headLengths : this.#tailLengths).add(end.length);
    const ends = byHead ? this.#byHead : this.#byTail;
    const alike = ends.get(end);
    if (alike) alike.push(pattern);
    else ends.set(end, [pattern]);
    return pattern.orders;
  }

  find(path: string, parentVerdict: number, runes: () => readonly number[], found: PatternOrders[]): void {
    const length = path.length;
    const visit = (patterns: readonly LoosePattern[] | undefined): void => {
      for (const pattern of patterns ?? []) {
        const { orders } = pattern;
        const isLate = orders.last(false) > parentVerdict || orders.last(true) > parentVerdict;
        if (isLate && path.startsWith(pattern.head) && path.endsWith(pattern.tail))
          if (pattern.matches(path, runes)) found.push(orders);
      }
    };
    for (const size of this.#headLengths) if (size <= length) visit(this.#byHead.get(path.slice(0, size)));
    for (const size of this.#tailLengths)
      if (size <= length) visit(this.#byTail.get(path.slice(length - size)));
  }

  /** True when a "!" line after `verdict` could match below a directory. */
  couldKeepBelow(dir: string, verdict: number): boolean {
    const begin = `${dir}/`;
    for (const pattern of this.#byText.values()) {
      if (pattern.orders.last(true) <= verdict) continue;
      const isOnTheWay = begin.startsWith(pattern.head) || pattern.head.startsWith(begin);
      if (isOnTheWay && pattern.couldMatchBelow(dir)) return true;
    }
    return false;
  }
}
