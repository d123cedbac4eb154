import { formatPath, type Path, type Report, ValueError, type Where } from '../config/errors.ts';
import { formatSourceValue, type SourceValue } from '../config/source-value.ts';
import type { Finding, Verdict } from './importer.ts';

/** Collects what became of each key of the files that are imported: every key gets exactly one finding. */
export class Findings {
  readonly #found = new Map<SourceValue, Finding>();
  readonly #roots: SourceNode[] = [];
  readonly #report: Report;

  /** `report` takes the mistakes of the files. */
  constructor(report: Report) {
    this.#report = report;
  }

  /** Returns the root of a file; its keys are part of {@link all}. */
  root(raw: SourceValue): SourceNode {
    const root = new SourceNode(this, raw, [], raw.where);
    this.#roots.push(root);
    return root;
  }

  /** Records what became of a key; the first verdict stands, unless it is `overruled`. */
  judge(node: SourceNode, verdict: Verdict, how: string, shown: string, overruled = false): void {
    if (this.#found.has(node.raw) && !overruled) return;
    this.#found.set(node.raw, { ...node.where, path: formatPath(node.path), value: shown, verdict, how });
  }

  mistake(where: Where, path: Path, fault: ValueError): void {
    this.#report(where, path, fault);
  }

  /** Returns one finding for each key, in the order of the files; keys that were not judged are ignored as unknown. */
  all(): readonly Finding[] {
    for (const root of this.#roots) root.ignore('the importer does not know this key');
    const places = new Map(this.#roots.map(({ where }, index) => [where.source, index]));
    const place = ({ source }: Where): number => places.get(source) ?? 0;
    return [...this.#found.values()].sort((a, b) => place(a) - place(b) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  }
}

/** A value of a foreign configuration, with the place of its key. Reading a value of the wrong kind reports a mistake. */
export class SourceNode {
  readonly raw: SourceValue;
  readonly path: Path;
  /** Of its key; of the value itself in a list. */
  readonly where: Where;
  readonly #findings: Findings;

  constructor(findings: Findings, raw: SourceValue, path: Path, where: Where) {
    this.#findings = findings;
    this.raw = raw;
    this.path = path;
    this.where = where;
  }

  /** Returns the value of a name; undefined if it is absent, or nothing stands behind it. */
  get(name: string): SourceNode | undefined {
    return this.entries().find(([each, node]) => each === name && !node.#isNothing())?.[1];
  }

  /** Returns the value of a name; reports a mistake if it is absent. */
  need(name: string, remedy: string): SourceNode | undefined {
    const found = this.get(name);
    if (found === undefined) this.mistake(`${name} is missing`, remedy);
    return found;
  }

  /** Returns the names of a map with their values; none if it is no map. */
  entries(): readonly (readonly [name: string, node: SourceNode])[] {
    if (this.raw.kind !== 'map') return [];
    return this.raw.entries.map(({ name, value, where }) => [name, new SourceNode(this.#findings, value, [...this.path, name], where)] as const);
  }

  /** Returns the items of a list; none if it is no list. */
  items(): readonly SourceNode[] {
    if (this.raw.kind !== 'list') return [];
    return this.raw.items.map((item, index) => new SourceNode(this.#findings, item, [...this.path, index], item.where));
  }

  /** Reports a mistake if this is no map. Returns whether it is one. */
  isMap(like: string): boolean {
    if (this.raw.kind === 'map') return true;
    this.mistake(`${formatSourceValue(this.raw)} is not a map`, `Write ${like}.`);
    return false;
  }

  /** Reports a mistake if this is no list. Returns whether it is one. */
  isList(like: string): boolean {
    if (this.raw.kind === 'list') return true;
    this.mistake(`${formatSourceValue(this.raw)} is not a list`, `Write ${like}.`);
    return false;
  }

  /** Returns a text that is not empty, numbers and truths as they are written. Reports anything else. */
  text(): string | undefined {
    const { raw } = this;
    if (raw.kind === 'scalar' && raw.value !== null && String(raw.value).trim() !== '') return typeof raw.value === 'string' ? raw.value : raw.text;
    this.mistake(`${formatSourceValue(raw)} is not a text`, 'Write a text.');
    return undefined;
  }

  /** Returns a whole number within bounds, also written as text. Reports anything else. */
  integer(min: number, max: number): number | undefined {
    const number = this.#number();
    if (number !== undefined && Number.isInteger(number) && number >= min && number <= max) return number;
    this.mistake(`${formatSourceValue(this.raw)} is not a whole number from ${min} to ${max}`, 'Correct it in the file that is imported.');
    return undefined;
  }

  /** Returns a number within bounds, also written as text. Reports anything else; `bounds` is how that names them. */
  decimal(min: number, max: number, bounds = `from ${min} to ${max}`): number | undefined {
    const number = this.#number();
    if (number !== undefined && number >= min && number <= max) return number;
    this.mistake(`${formatSourceValue(this.raw)} is not a number ${bounds}`, 'Correct it in the file that is imported.');
    return undefined;
  }

  /** Returns true or false, also written as text. Reports anything else. */
  truth(): boolean | undefined {
    const value = this.raw.kind === 'scalar' ? this.raw.value : undefined;
    const text = String(value).toLowerCase();
    if (text === 'true' || text === 'false') return text === 'true';
    this.mistake(`${formatSourceValue(this.raw)} is neither true nor false`, 'Write one of the two.');
    return undefined;
  }

  understood(how: string, shown?: string): void {
    this.#judge('understood', how, shown);
  }

  changed(how: string, shown?: string): void {
    this.#judge('changed', how, shown);
  }

  /** Also everything below it that was not judged. */
  ignore(why: string, shown?: string): void {
    this.#judge('ignored', why, shown);
  }

  /** Ignores this and everything below it, whatever was said of it before. */
  overrule(why: string): void {
    this.#judge('ignored', why, undefined, true);
  }

  /** Reports a mistake at the value. */
  mistake(problem: string, remedy: string): void {
    this.#findings.mistake(this.raw.where, this.path, new ValueError(problem, remedy));
  }

  /** A map or list is judged by what stands in it; an empty one by itself. */
  #judge(verdict: Verdict, how: string, shown: string | undefined, overruled = false): void {
    const below = [...this.entries().map(([, node]) => node), ...this.items()];
    for (const node of below) node.#judge(verdict, how, shown, overruled);
    if (below.length === 0) this.#findings.judge(this, verdict, how, shown ?? formatSourceValue(this.raw), overruled);
  }

  #isNothing(): boolean {
    return this.raw.kind === 'scalar' && this.raw.value === null;
  }

  #number(): number | undefined {
    const value = this.raw.kind === 'scalar' ? this.raw.value : undefined;
    if (typeof value === 'number') return value;
    return typeof value === 'string' && /^-?\d{1,15}(\.\d{1,9})?$/.test(value) ? Number(value) : undefined;
  }
}
