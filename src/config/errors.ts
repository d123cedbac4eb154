/** Where a value was written. */
export interface Where {
  /** The file's name, `environment NAME`, or `flag --name`. */
  readonly source: string;
  /** From 1; undefined outside a file. */
  readonly line: number | undefined;
  /** From 1; undefined outside a file. */
  readonly column: number | undefined;
}

/** Steps from the root of the file to a value: names of options, and indexes of lists. */
export type Path = readonly (string | number)[];

/** One thing that is wrong with a configuration, where it is, and what to do about it. */
export interface ConfigError extends Where {
  /** As in `groups.llm.limits[0].rate`; '' for the file as a whole. */
  readonly path: string;
  /** What is wrong; no full stop. */
  readonly problem: string;
  /** What to do; a sentence. */
  readonly remedy: string;
}

/** What a reader finds wrong with one value; the caller adds its position. */
export class ValueError {
  readonly problem: string;
  readonly remedy: string;

  constructor(problem: string, remedy: string) {
    this.problem = problem;
    this.remedy = remedy;
  }
}

/** Takes a mistake while the reading goes on: all are reported together. */
export type Report = (where: Where, path: Path, fault: ValueError) => void;

/** At most this many mistakes are kept; a file with more has one cause that repeats. */
export const MISTAKES_MAX = 500;

/** A path as people write it: `groups.llm.limits[0].rate`. */
export function formatPath(path: Path): string {
  let shown = '';
  for (const step of path) shown += typeof step === 'number' ? `[${step}]` : `${shown === '' ? '' : '.'}${step}`;
  return shown;
}

/** A mistake as one line, in the form that editors and terminals make a link of. */
export function formatError(mistake: ConfigError): string {
  return `${formatPlace(mistake)}:${formatProblem(mistake)}`;
}

/** A warning in the same form. */
export function formatWarning(warning: ConfigError): string {
  return `${formatPlace(warning)}: warning:${formatProblem(warning)}`;
}

function formatPlace({ source, line, column }: ConfigError): string {
  return line === undefined ? source : `${source}:${line}:${column ?? 1}`;
}

function formatProblem({ path, problem, remedy }: ConfigError): string {
  return `${path === '' ? '' : ` ${path}:`} ${problem}. ${remedy}`;
}

/** A collector of mistakes, and the function that fills it; the same mistake at the same place is kept once. */
export function collectErrors(): { readonly mistakes: ConfigError[]; readonly report: Report } {
  const mistakes: ConfigError[] = [];
  const seen = new Set<string>();
  const report: Report = (where, path, fault) => {
    const mistake = { ...where, path: formatPath(path), problem: fault.problem, remedy: fault.remedy };
    const line = formatError(mistake);
    if (mistakes.length >= MISTAKES_MAX || seen.has(line)) return;
    seen.add(line);
    mistakes.push(mistake);
  };
  return { mistakes, report };
}
