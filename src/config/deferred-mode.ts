import { ValueError } from './errors.ts';
import type { ReportAt, Unverified } from './schema.ts';

/** Options that mean something only where requests are stored. */
const STORED = ['answer', 'dedupe', 'order', 'onDead', 'success', 'retry', 'keep', 'timeout', 'sign', 'callback', 'pushback', 'results'] as const;

/** What is looked at of a route. */
interface Mode {
  readonly mode: 'forward' | 'deferred';
  readonly respondAsync: boolean;
  readonly group: string | undefined;
  readonly key: unknown;
  readonly order: 'none' | 'key';
}

/** Reports options of a route that do not go with how its requests are answered. */
export function checkMode(route: Unverified<Mode>, report: ReportAt, written: ReadonlySet<string>): void {
  const deferred = route.mode === 'deferred';
  if (route.mode === undefined || route.respondAsync === undefined) return;
  const stores = deferred || route.respondAsync;
  for (const name of STORED)
    if (!stores && written.has(name))
      report([name], new ValueError(`${name} has no meaning where nothing is stored`, 'Write mode: deferred or respondAsync: true, or remove it.'));
  if (!deferred && written.has('verify'))
    report(
      ['verify'],
      new ValueError('verify has no meaning on a forward route', 'Write mode: deferred; a backend that answers its callers itself checks signatures itself.'),
    );
  if (deferred && route.respondAsync)
    report(['respondAsync'], new ValueError('every request of a deferred route is stored', 'Remove respondAsync, or mode: deferred.'));
  if (stores && !written.has('group'))
    report(
      [deferred ? 'mode' : 'respondAsync'],
      new ValueError('requests are stored for a group, and this route has none', 'Name the group whose limits count.'),
    );
  if (deferred)
    for (const [name, instead] of [
      ['attempts', 'retry.attempts'],
      ['charge', 'nothing: what is stored is whole'],
      ['refusal', 'nothing: a caller is not refused for lack of capacity'],
    ] as const)
      if (written.has(name)) report([name], new ValueError(`${name} has no meaning on a deferred route`, `Take ${instead}.`));
  if (!stores) return;
  if (route.order === 'key' && !written.has('key')) report(['order'], new ValueError('order: key needs a key', 'Write key: header NAME, or remove order.'));
  if (written.has('onDead') && route.order === 'none')
    report(['onDead'], new ValueError('onDead has no meaning without order: key', 'Write order: key, or remove onDead.'));
}
