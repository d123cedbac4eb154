/** One system call of a trace. `entered` and `left` are numbers of lines: what left before another entered was over before it began. */
export interface SystemCall {
  readonly name: string;
  /** Its first argument, when that is a number. */
  readonly file: number;
  /** All its arguments, as strace prints them. */
  readonly text: string;
  readonly result: number;
  readonly entered: number;
  readonly left: number;
}

/** What a client was told: an answer that names `id` says that all of `marks` is on disk. */
export interface Claim {
  readonly id: string;
  /** Texts that stand in the request, and nowhere else. */
  readonly marks: readonly string[];
}

/** Reads what `strace -f -o` wrote. Calls that were not over when the trace ended are left out. */
export function parseTrace(trace: string): readonly SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, { readonly name: string; readonly text: string; readonly entered: number }>();
  for (const [line, text] of trace.split('\n').entries()) {
    const [, process = '', rest = ''] = /^(\d+) +(.*)$/s.exec(text) ?? [];
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/s.exec(rest);
    const begun = resumed === null ? /^(\w+)\((.*)$/s.exec(rest) : null;
    const before = resumed === null ? undefined : unfinished.get(process);
    const name = resumed?.[1] ?? begun?.[1];
    if (name === undefined || (resumed !== null && before?.name !== name)) continue;
    const all = (before?.text ?? '') + (resumed?.[2] ?? begun?.[2] ?? '');
    const entered = before?.entered ?? line;
    if (all.endsWith(' <unfinished ...>')) {
      unfinished.set(process, { name, text: all.slice(0, -' <unfinished ...>'.length), entered });
      continue;
    }
    unfinished.delete(process);
    const result = Number(/\) += (-?\d+)( E[A-Z]+ \([^()]*\))?$/.exec(all.slice(-200))?.[1] ?? Number.NaN);
    calls.push({ name, file: Number.parseInt(all, 10), text: all, result, entered, left: line });
  }
  return calls;
}

const WRITES: ReadonlySet<string> = new Set(['pwrite64', 'pwritev', 'pwritev2', 'write', 'writev']);
const ANSWERS: ReadonlySet<string> = new Set(['write', 'writev', 'sendto', 'sendmsg']);
const SYNCS: ReadonlySet<string> = new Set(['fdatasync', 'fsync']);

/**
 * Pairs each claim with the synchronous write that covers it, as LMDB commits: the pages that hold it are written, then flushed by
 * `fdatasync`, then the meta page that makes them count is written through a descriptor that was opened with O_DSYNC. An answer
 * that begins before the last of these is over is a lie. (An audit that looks for `fdatasync` alone passes a store that answers
 * between it and the meta page.) `file`: how the path of the store ends. Returns what is wrong,
 * and how many commits there were.
 */
export function auditSyncs(
  calls: readonly SystemCall[],
  claims: readonly Claim[],
  file: string,
): { readonly wrong: readonly string[]; readonly commits: number } {
  const { data, meta, others } = byDescriptor(calls, file);
  if (data.length === 0) return { wrong: [`no ${file} was opened`], commits: 0 };
  if (meta.length === 0) return { wrong: [`${file} was never opened with O_DSYNC: this audit does not know how its commits are synced`], commits: 0 };
  const writes = data.filter(({ name, result }) => WRITES.has(name) && result > 0);
  const syncs = data.filter(({ name, result }) => SYNCS.has(name) && result === 0);
  const metas = meta.filter(({ name, result }) => WRITES.has(name) && result > 0);
  const answers = others.filter(({ name, file: descriptor }) => ANSWERS.has(name) && descriptor > 2);
  const wrong: string[] = [];
  for (const { id, marks } of claims) {
    const answer = answers.find(({ text }) => text.includes(id));
    if (answer === undefined) wrong.push(`${id}: its answer is not in the trace`);
    for (const mark of answer === undefined ? [] : marks) {
      const page = writes.find(({ text }) => text.includes(mark));
      const sync = page && syncs.find(({ entered }) => entered > page.left);
      const covering = sync && metas.find(({ entered }) => entered > sync.left);
      const answered = (answer as SystemCall).entered;
      if (page === undefined || page.left > answered) wrong.push(`${id} was answered before ${mark} was written`);
      else if (sync === undefined || sync.left > answered) wrong.push(`${id} was answered before ${mark} was flushed`);
      else if (covering === undefined || covering.left > answered) wrong.push(`${id} was answered before the meta page that covers ${mark} was written`);
    }
  }
  return { wrong, commits: metas.length };
}

/** Calls on descriptors of the store: for pages, with O_DSYNC for the meta page, and all others. A number that was closed may be anything after. */
function byDescriptor(calls: readonly SystemCall[], file: string): Readonly<Record<'data' | 'meta' | 'others', readonly SystemCall[]>> {
  const open = new Map<number, SystemCall[]>();
  const sorted = { data: [] as SystemCall[], meta: [] as SystemCall[], others: [] as SystemCall[] };
  for (const call of calls) {
    const { name, text, result } = call;
    if (name === 'openat' && result >= 0 && text.includes(`${file}"`)) {
      const of = /\bO_D?SYNC\b/.test(text) ? sorted.meta : sorted.data;
      open.set(result, of);
      of.push(call);
    } else if (name === 'close') open.delete(call.file);
    else (open.get(call.file) ?? sorted.others).push(call);
  }
  return sorted;
}
