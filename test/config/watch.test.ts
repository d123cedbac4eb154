import { describe, expect, test } from 'vitest';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { ConfigWatch, type ReloadEvent, SETTLE_MS } from '../../src/config/watch.ts';

/** A watch over a file in memory, with timers that go by hand. */
function scene(first: string, apply: (next: Config) => readonly string[] = () => []) {
  const load = (text: string) => loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  const loaded = load(first);
  if (loaded.kind !== 'config') throw new Error('the first file is bad');
  let text: string | undefined = first;
  let changed = (): void => {};
  const timers = new Set<{ ms: number; wake: () => void }>();
  const events: ReloadEvent[] = [];
  const applied: Config[] = [];
  const watch = new ConfigWatch({
    config: loaded.config,
    text: first,
    read: async () => {
      if (text === undefined) throw new Error('ENOENT: no such file');
      return text;
    },
    load,
    apply: async (next) => {
      const refused = apply(next);
      if (refused.length === 0) applied.push(next);
      return refused;
    },
    onEvent: (event) => events.push(event),
    notify: (call) => {
      changed = call;
      return () => {
        changed = () => {};
      };
    },
    later: (ms, wake) => {
      const timer = { ms, wake };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  });
  watch.start();
  /** Runs every timer of at most `ms`, and what follows from it. */
  const once = async (ms: number): Promise<void> => {
    for (const timer of [...timers]) {
      if (timer.ms > ms) continue;
      timers.delete(timer);
      timer.wake();
    }
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  };
  /** The same, and then the pause between two readings of a file. */
  const pass = async (ms: number): Promise<void> => {
    await once(ms);
    await once(SETTLE_MS);
  };
  const write = (next: string | undefined): void => {
    text = next;
  };
  return { watch, events, applied, timers, once, pass, write, changed: () => changed(), groups: () => applied.at(-1)?.groups.map(({ spec }) => spec.name) };
}

const A = 'groups: { a: {} }\n';
const B = 'revision: 2\ngroups: { a: {}, b: {} }\n';

describe('a changed file', () => {
  test('is taken once it has settled, however many signs there were', async () => {
    const { events, groups, pass, write, changed, applied } = scene(A);
    write(B);
    changed();
    changed();
    changed();
    await pass(200);
    expect(groups()).toEqual(['a', 'b']);
    expect(applied).toHaveLength(1);
    expect(events).toEqual([{ kind: 'reloaded', revision: 2, groups: 2, needRestart: [] }]);
  });

  test('is found by looking, where nothing tells of it', async () => {
    const { groups, pass, write } = scene(A);
    await pass(5000);
    expect(groups()).toBeUndefined();
    write(B);
    await pass(5000);
    expect(groups()).toEqual(['a', 'b']);
  });

  test('with one mistake changes nothing, and says where, once', async () => {
    const { events, applied, pass, write } = scene(A);
    write('groups:\n  a: {}\n  b: { ttl: { default: 5 } }\n');
    await pass(5000);
    await pass(5000);
    expect(applied).toEqual([]);
    expect(events).toEqual([{ kind: 'refused', mistakes: ['f.yaml:3:24: groups.b.ttl.default: 5 is not a duration. Give it a unit: 5s or 5ms.'] }]);
    write(B);
    await pass(5000);
    expect(applied).toHaveLength(1);
  });

  test('that cannot be applied says why', async () => {
    const { events, pass, write } = scene(A, () => ['group a is gone while 3 wait in it']);
    write(B);
    await pass(5000);
    expect(events).toEqual([{ kind: 'refused', mistakes: ['group a is gone while 3 wait in it'] }]);
  });

  test('names the options that wait for a restart, again at each reload', async () => {
    const { events, pass, write } = scene(A);
    write(`${B}listen: { api: { address: 81, tls: { cert: c, key: k } } }\nstore: memory\nlog: { level: debug }\n`);
    await pass(5000);
    expect(events.at(-1)).toMatchObject({ needRestart: ['listen.api.address.port', 'listen.api.tls', 'store.kind'] });
    write(`${A}store: memory\n`);
    await pass(5000);
    expect(events.at(-1)).toMatchObject({ needRestart: ['store.kind'] });
  });

  test('that is emptied and written again a second later, as editors write in place, changes nothing until it is whole', async () => {
    const { events, groups, applied, pass, write, changed } = scene(A);
    write('');
    changed();
    await pass(200);
    expect(applied).toEqual([]);
    expect(events).toMatchObject([{ kind: 'refused', mistakes: [expect.stringContaining('there are no groups')] }]);
    write(B);
    changed();
    await pass(200);
    expect(groups()).toEqual(['a', 'b']);
  });

  test('is not taken while it still grows, even where each piece of it is a whole file', async () => {
    const { events, groups, applied, once, write, changed } = scene('groups: { a: {}, b: {}, c: {} }\n');
    write('groups:\n  a: {}\n');
    changed();
    await once(200);
    write('groups:\n  a: {}\n  b: {}\n');
    await once(200);
    expect(applied).toEqual([]);
    write('revision: 3\ngroups:\n  a: {}\n  b: {}\n  d: {}\n');
    await once(200);
    expect(applied).toEqual([]);
    await once(200);
    expect(groups()).toEqual(['a', 'b', 'd']);
    expect(events).toHaveLength(1);
  });

  test('that never comes to rest is reported once, and taken once it has', async () => {
    const { events, groups, once, write, changed } = scene(A);
    changed();
    for (let writing = 0; writing < 80; writing++) {
      write(`# ${writing}\n${B}`);
      await once(writing % 30 === 29 ? 5000 : 200);
    }
    expect(events).toEqual([{ kind: 'refused', mistakes: [expect.stringContaining('different at each of 25 readings')] }]);
    for (let rest = 0; rest < 3; rest++) await once(5000);
    expect(groups()).toEqual(['a', 'b']);
  });

  test('that is away for a moment is waited for', async () => {
    const { events, groups, pass, write, changed } = scene(A);
    write(undefined);
    changed();
    await pass(200);
    expect(events).toEqual([]);
    write(B);
    await pass(5000);
    expect(groups()).toEqual(['a', 'b']);
  });
});

describe('a reload that was asked for', () => {
  test('reads and applies the file, changed or not', async () => {
    const { watch, events } = scene(A);
    await watch.reload();
    expect(events).toEqual([{ kind: 'reloaded', revision: 0, groups: 1, needRestart: [] }]);
  });

  test('says that the file is away', async () => {
    const { watch, events, write, applied } = scene(A);
    write(undefined);
    await watch.reload();
    expect(events).toEqual([{ kind: 'refused', mistakes: ['the file cannot be read: ENOENT: no such file'] }]);
    expect(applied).toEqual([]);
  });

  test('reports a throw, and the next one works', async () => {
    let broken = true;
    const { watch, events } = scene(A, () => {
      if (broken) throw new Error('disk on fire');
      return [];
    });
    await watch.reload();
    broken = false;
    await watch.reload();
    expect(events.map(({ kind }) => kind)).toEqual(['refused', 'reloaded']);
    expect(events[0]).toMatchObject({ mistakes: ['the reload failed: disk on fire'] });
  });
});

test('a watch that has stopped looks no more', async () => {
  const { watch, timers, changed, pass, write, applied } = scene(A);
  await watch.stop();
  write(B);
  changed();
  await pass(5000);
  expect(timers.size).toBe(0);
  expect(applied).toEqual([]);
});
