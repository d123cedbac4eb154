import type { OperatorEvent } from '../api/operator-event.ts';
import type { Log } from '../telemetry/log.ts';

/** A verb as it follows "tried to" and as it stands when done, with what it is done to. */
type Deed = readonly [infinitive: string, past: string, object: string];

/** Logs what an operator did, or was refused: who, to which group, for how long. */
export function logOperator(log: Log, event: OperatorEvent): string {
  const { kind, caller, group, refused, ...fields } = event;
  const who = caller === '' ? 'An operator' : `Operator ${caller}`;
  const deeds = deedsOf(event);
  if (refused === undefined) {
    const text = `${who} ${listed(deeds.map(([, past, object]) => `${past} ${object}`))}.`;
    log.write('info', kind, text, { caller, group, ...fields });
    return text;
  }
  const tried = listed(deeds.map(([infinitive, , object]) => `${infinitive} ${object}`));
  const text = `${who} tried to ${tried}; it was refused: ${refused}.`;
  log.write('warn', kind, text, { caller, group, ...fields, refused });
  return text;
}

function deedsOf(event: OperatorEvent): readonly Deed[] {
  const { kind, key, request, requests, refused } = event;
  const group = event.group === '' ? 'any group' : `group ${event.group}`;
  const paused = key === undefined ? group : `a key of ${group}`;
  switch (kind) {
    case 'group_paused':
      return [['pause', 'paused', paused]];
    case 'group_resumed':
      return [['resume', 'resumed', paused]];
    case 'group_overridden':
      return overridesOf(event, group);
    case 'waiter_evicted':
      return [['evict', 'evicted', `a waiter of ${group}`]];
    case 'lease_revoked':
      return [['revoke', 'revoked', `a lease of ${group}`]];
    case 'requests_redriven': {
      const count = requests === undefined || refused !== undefined ? '' : `${requests} `;
      return [['redrive', 'redrove', request === undefined ? `${count}dead ${requests === 1 ? 'letter' : 'letters'} of ${group}` : `request ${request}`]];
    }
  }
}

/** All that one override does; the first names the group. */
function overridesOf({ limits = [], enforce, forMs, forgiveDebt = false }: OperatorEvent, group: string): readonly Deed[] {
  const deeds: Deed[] = [];
  const of = (what: string): string => (deeds.length === 0 ? `the ${what} of ${group}` : `its ${what}`);
  if (forMs === 0) deeds.push(['end', 'ended', of('override')]);
  if (limits.length > 0) deeds.push(['override', 'overrode', `limits of ${group}`]);
  if (enforce === false) deeds.push(['stop enforcing', 'stopped enforcing', of('limits')]);
  if (enforce === true) deeds.push(['enforce', 'enforced', of('limits')]);
  if (forgiveDebt) deeds.push(['forgive', 'forgave', of('debt')]);
  return deeds.length === 0 ? [['override', 'overrode', `limits of ${group}`]] : deeds;
}

function listed(phrases: readonly string[]): string {
  return phrases.length < 2 ? phrases.join('') : `${phrases.slice(0, -1).join(', ')} and ${phrases.at(-1)}`;
}
