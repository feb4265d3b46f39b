import { CooperError } from "../../errors.js";

/** New permission bits for an entry. */
export interface Chmod {
  apply(mode: number, isDirectory: boolean): number;
  /** The bits, where they are the same for every entry. */
  readonly octal?: number;
}

const READ = 0o444;
const WRITE = 0o222;
const EXECUTE = 0o111;
const SET_ID = 0o6000;
const STICKY = 0o1000;
/** What each class owns; `=` takes all of it away first. */
const CLASSES: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o007, a: 0o6777 };
/** Where the three bits of a class stand. */
const SHIFTS: Readonly<Record<string, number>> = { u: 6, g: 3, o: 0 };

const CLAUSE = /^([ugoa]*)((?:[-+=][rwxXstugo]*)+)$/;

/** One action on a mode. `before`: the mode that the entry had. */
type Action = (mode: number, before: number, isDirectory: boolean) => number;

/**
 * Parses `--chmod`: octal from 0 to 7777, or symbolic as in chmod(1) with an umask of 0: `u=rwX,go=rX`, `a+x-w`, `go=u-w`.
 * Throws `usage`. Source: BuildKit, whose symbolic modes are those of BSD's setmode(3): `=` leaves the sticky bit alone
 * unless `t` is given, and `t` without a class is about the sticky bit only.
 */
export function parseChmod(text: string): Chmod {
  if (/^0*[0-7]{1,4}$/.test(text)) {
    const bits = Number.parseInt(text, 8);
    return { apply: () => bits, octal: bits };
  }
  const clauses = text.split(",").map((clause) => CLAUSE.exec(clause));
  const actions = clauses.flatMap((clause) => (clause ? actionsOf(clause[1] ?? "", clause[2] ?? "") : []));
  if (clauses.includes(null)) {
    throw new CooperError("usage", `--chmod=${text}: must be octal like 755, or symbolic like u=rwX,go=rX`);
  }
  return {
    apply: (mode, isDirectory) => actions.reduce((bits, action) => action(bits, mode, isDirectory), mode),
  };
}

function actionsOf(classes: string, text: string): readonly Action[] {
  const who = Array.from(classes).reduce((bits, name) => bits | (CLASSES[name] ?? 0), 0);
  return [...text.matchAll(/([-+=])([^-+=]*)/g)].flatMap(([, operator = "", permissions = ""]) =>
    operation(who, operator, permissions),
  );
}

/** `permissions` apply from left to right: what stands before the letter of a class is done before the class is copied. */
function operation(named: number, operator: string, permissions: string): readonly Action[] {
  const actions: Action[] = [];
  let who = named;
  let bits = 0;
  let ifExecutable = 0;
  let assigned = operator !== "=";
  const flush = (): void => {
    if (bits !== 0 || !assigned) actions.push(change(who, operator, bits));
    if (ifExecutable !== 0) actions.push(executable(who, operator));
    assigned = true;
    bits = 0;
    ifExecutable = 0;
  };
  // Nobody but "others" named: they have neither set-id nor sticky bit.
  const onlyOthers = named === CLASSES["o"];
  for (const letter of permissions) {
    if (letter === "r") bits |= READ;
    else if (letter === "w") bits |= WRITE;
    else if (letter === "x") bits |= EXECUTE;
    else if (letter === "X") ifExecutable = EXECUTE;
    else if (letter === "s") bits |= onlyOthers ? 0 : SET_ID;
    else if (letter === "t") {
      bits |= onlyOthers ? 0 : STICKY;
      who |= onlyOthers ? 0 : STICKY;
    } else {
      assigned = true;
      flush();
      actions.push(copyOf(letter, who, operator));
    }
  }
  flush();
  return actions;
}

function change(who: number, operator: string, bits: number): Action {
  const changed = who === 0 ? bits : bits & who;
  if (operator === "+") return (mode) => mode | changed;
  if (operator === "-") return (mode) => mode & ~changed;
  const cleared = who === 0 ? (CLASSES["a"] ?? 0) : who;
  return (mode) => (mode & ~cleared) | changed;
}

/** `X`: for directories, and files that somebody might execute before. */
function executable(who: number, operator: string): Action {
  const bits = who === 0 ? EXECUTE : EXECUTE & who;
  return (mode, before, isDirectory) => {
    if (!isDirectory && (before & EXECUTE) === 0) return mode;
    return operator === "-" ? mode & ~bits : mode | bits;
  };
}

/** Permissions of one class for others, as they are by then. */
function copyOf(from: string, who: number, operator: string): Action {
  const classes = Object.entries(SHIFTS).filter(([name]) => who === 0 || (who & (CLASSES[name] ?? 0)) !== 0);
  return (mode) => {
    const value = (mode >> (SHIFTS[from] ?? 0)) & 0o7;
    const spread = classes.reduce((bits, [, shift]) => bits | (value << shift), 0);
    const cleared = classes.reduce((bits, [, shift]) => bits | (0o7 << shift), 0);
    if (operator === "+") return mode | spread;
    return operator === "-" ? mode & ~spread : (mode & ~cleared) | spread;
  };
}
