/** One fault put into the core on purpose: in `file`, `from` (which must be there once) becomes `to`. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** Faults that somebody could make, one for each promise of the core; each must be caught. */
export const mutants: readonly Mutant[] = [
  {
    name: 'a window passes one more than its limit',
    file: 'limits/rolling-window.ts',
    from: 'return this.#leaves(now, this.#debt + this.#held + cost - this.#permits);',
    to: 'return this.#leaves(now, this.#debt + this.#held + cost - this.#permits - 1);',
  },
  {
    name: 'a place in a window reopens with the first of what was merged',
    file: 'limits/rolling-window.ts',
    from: 'this.#entries.set(last, time, this.#entries.countAt(last) + count);',
    to: 'this.#entries.set(last, this.#entries.timeAt(last), this.#entries.countAt(last) + count);',
  },
  {
    name: 'concurrency leaves its last slot empty',
    file: 'limits/concurrency.ts',
    from: 'return this.#held + cost <= this.#limitAt(now) ||',
    to: 'return this.#held + cost < this.#limitAt(now) ||',
  },
  {
    name: 'spacing forgets its slack',
    file: 'limits/spacing.ts',
    from: 'return Math.max(1, quota.spacing + quota.slack);',
    to: 'return Math.max(1, quota.spacing);',
  },
  {
    name: 'a refund gives back all that was charged',
    file: 'gate/release.ts',
    from: 'if (real < charged) refund(dispatcher, now, grant.grantedAt, instance, charged - real, charged);',
    to: 'if (real < limits) refund(dispatcher, now, grant.grantedAt, instance, limits, limits);',
  },
  {
    name: 'a debit is not charged',
    file: 'gate/release.ts',
    from: 'instance.limit.debit(now, cost);',
    to: '',
  },
  {
    name: 'fences begin anew with every term',
    file: 'gate/grants.ts',
    from: 'return (this.term << SERIAL_BITS) | BigInt(serial - this.#serialBase);',
    to: 'return BigInt(serial - this.#serialBase);',
  },
  {
    name: 'a slot is leaked when a waiter leaves',
    file: 'gate/dispatcher.ts',
    from: 'state.node.count(slot, -1);',
    to: '',
  },
  {
    name: 'last in, first out',
    file: 'tree/queues.ts',
    from: ': waiters.orderOf(a.head) < waiters.orderOf(b.head)',
    to: ': waiters.orderOf(a.head) > waiters.orderOf(b.head)',
  },
  {
    name: 'who comes again stands at the end',
    file: 'tree/waiter-table.ts',
    from: 'Math.min(since.order, next)',
    to: 'next',
  },
  {
    name: 'who comes again stands first',
    file: 'tree/queues.ts',
    from: 'while (after !== NO_SLOT && waiters.orderOf(after) < order) {',
    to: 'while (after !== NO_SLOT && waiters.orderOf(after) < 0) {',
  },
  {
    name: 'who comes again has not aged',
    file: 'tree/waiter-table.ts',
    from: 'return since === undefined ? now : earlier(now, since.arrivedAt);',
    to: 'return since === undefined ? now : now;',
  },
  {
    name: 'who comes again to the head of a blocked key wakes nobody',
    file: 'gate/dispatcher.ts',
    from: '(request.since !== undefined || mostUrgent(state, queue))',
    to: 'mostUrgent(state, queue)',
  },
  {
    name: 'the wait timeout ends before the slot of the same moment is given',
    file: 'gate/ticker.ts',
    from: 'if (slotAt <= expiryAt) this.#open(slotAt, now);',
    to: 'if (slotAt < expiryAt) this.#open(slotAt, now);',
  },
  {
    name: 'weights are ignored',
    file: 'tree/queues.ts',
    from: 'queue.finishTag = queue.startTag + (cost > 0 ? cost : 1) / weight;',
    to: 'queue.finishTag = queue.startTag + (cost > 0 ? cost : 1);',
  },
  {
    name: 'only the own group is charged, not its parents',
    file: 'tree/group-tree.ts',
    from: 'node.pathInstances = node.path.flatMap((above) => above.instances);',
    to: 'node.pathInstances = node.instances;',
  },
  {
    name: 'the least urgent goes first',
    file: 'tree/group-node.ts',
    from: 'if (aging === undefined || levelA.deferred !== levelB.deferred) return levelA.priority < levelB.priority;',
    to: 'if (aging === undefined || levelA.deferred !== levelB.deferred) return levelA.priority > levelB.priority;',
  },
  {
    name: 'a key that is blocked holds the line',
    file: 'gate/dispatcher.ts',
    from: 'if (!this.readiness.keyReady(now, state, waiters.costsOf(slot))) {',
    to: 'if (!this.readiness.keyReady(now, state, waiters.costsOf(slot))) { this.#block(node); break; ',
  },
  {
    name: 'what is spent need not be on disk',
    file: 'gate/reservations.ts',
    from: 'return cost === 0 || !this.isDurable || !instance.enforced || instance.persistent === undefined || instance.persistent.isCovered(at, cost);',
    to: 'return true;',
  },
  {
    name: 'leases of the term before hold no slot',
    file: 'gate/restore.ts',
    from: 'else instance.limit.take(at, cost);',
    to: '',
  },
  {
    name: 'a waiter keeps the bound of the moment at which it was first offered',
    file: 'gate/dispatcher.ts',
    from: 'if (!this.readiness.covered(now, state, costs)) return node;',
    to: '',
  },
  {
    name: 'a share is the whole',
    file: 'tree/group-tree.ts',
    from: 'shareSpec(source, share ?? 1)',
    to: 'shareSpec(source, 1)',
  },
  {
    name: 'the timer is asked for a millisecond late',
    file: 'gate/gate.ts',
    from: 'return later(now, this.#ticker.nextAt(now));',
    to: 'return later(now, (this.#ticker.nextAt(now) + 1_000) as Instant);',
  },
  {
    name: 'a limit that shrank lets one more pass',
    file: 'limits/concurrency.ts',
    from: '|| (this.#held === 0 && cost <= this.#max)',
    to: '|| (this.#held <= 2 && cost <= this.#max)',
  },
  {
    name: 'every drop of a burst counts',
    file: 'limits/adaptive-concurrency.ts',
    from: 'if (overload && at > this.#backedOffAt) this.#backOff(now);',
    to: 'if (overload) this.#backOff(now);',
  },
  {
    name: 'a lapse is no overload',
    file: 'limits/adaptive-concurrency.ts',
    from: "how === 'dropped' || how === 'lapsed' ||",
    to: "how === 'dropped' ||",
  },
  {
    name: 'a permit that was not used counts as fast',
    file: 'limits/adaptive-concurrency.ts',
    from: "else if (overload || how !== 'used') {",
    to: 'else if (overload) {',
  },
  {
    name: 'a limit grows though hardly anything is held',
    file: 'limits/adaptive-concurrency.ts',
    from: 'if (peak * 2 < this.estimate) return;',
    to: '',
  },
  {
    name: 'a limit grows beyond its max',
    file: 'limits/adaptive-concurrency.ts',
    from: 'return Math.min(this.#max, Math.max(this.#how.floor, limit));',
    to: 'return Math.max(this.#how.floor, limit);',
  },
  {
    name: 'what is held while it measures is not bounded',
    file: 'limits/adaptive-concurrency.ts',
    from: 'return this.#isMeasuring(now) ? (this.#measuring as Measuring).limit : this.estimate;',
    to: 'return this.estimate;',
  },
  {
    name: 'a measure begins before enough has come back',
    file: 'limits/adaptive-concurrency.ts',
    from: 'else if (measuring.begun || held > measuring.limit) return;',
    to: 'else if (measuring.begun) return;',
  },
  {
    name: 'a limit learns nothing of how permits end',
    file: 'gate/release.ts',
    from: "instance.limit.onPermitEnded?.(now, grant.grantedAt, cost, grant.isAggregate ? 'unused' : how);",
    to: '',
  },
  {
    name: 'an offer outlives the limit that it was made under',
    file: 'gate/release.ts',
    from: `  dispatcher.onLimitTightened(instance);
  if (instance.limit.estimate === before) return;`,
    to: '  if (instance.limit.estimate === before) return;',
  },
  {
    name: 'a reported lease is told while what stands for it is still being written',
    file: 'leases/aggregate-lease.ts',
    from: 'if (this.#covers(this.#written, lease)) return undefined;',
    to: 'if (this.#covers(this.#asked, lease)) return undefined;',
  },
  {
    name: 'the first reported lease waits for nothing',
    file: 'leases/aggregate-lease.ts',
    from: 'if (this.#covers(this.#written, lease)) return undefined;',
    to: 'if (this.#written === undefined || this.#covers(this.#written, lease)) return undefined;',
  },
  {
    name: 'more reported leases are told than what stands for them has room for',
    file: 'leases/aggregate-lease.ts',
    from: 'if (held > (record.costs[unit] ?? 0)) return false;',
    to: '',
  },
  {
    name: 'a reported lease outlives what stands for it',
    file: 'leases/aggregate-lease.ts',
    from: 'record.expiresAt < lease.expiresAt || ',
    to: '',
  },
  {
    name: 'a reported lease is longer than what stands for it is held',
    file: 'leases/aggregate-lease.ts',
    from: ' || record.duration < lease.duration',
    to: '',
  },
  {
    name: 'what stands for reported leases is cut short',
    file: 'gate/restore.ts',
    from: 'plus(at, record.duration)',
    to: 'plus(grantedAt, record.duration / 2)',
  },
  {
    name: 'a snapshot forgets what stands for reported leases',
    file: 'gate/views.ts',
    from: 'if (!gate.sealed) leases.push(...reservations.aggregates.records(now));',
    to: '',
  },
  {
    name: 'what stands for reported leases has a fence above theirs',
    file: 'leases/aggregate-lease.ts',
    from: 'const serial = serials.nextSerial();',
    to: 'const serial = serials.nextSerial() + 5;',
  },
  {
    name: 'a full backlog sheds the oldest of the least urgent',
    file: 'gate/shed.ts',
    from: '.map((level) => level.youngest);',
    to: '.map((level) => level.oldest);',
  },
  {
    name: 'a full backlog sheds the most urgent',
    file: 'gate/shed.ts',
    from: '(last !== NO_SLOT && node.ranksBefore(each, last))',
    to: '(last !== NO_SLOT && node.ranksBefore(last, each))',
  },
  {
    name: 'a full key sheds the most urgent of its waiters',
    file: 'gate/shed.ts',
    from: 'state.node.ranksBefore(last, youngest)',
    to: 'state.node.ranksBefore(youngest, last)',
  },
  {
    name: 'callers without a key are counted as one',
    file: 'gate/shed.ts',
    from: "state.key !== '' && ",
    to: '',
  },
  {
    name: 'a full backlog always sheds the arrival',
    file: 'gate/shed.ts',
    from: "backlog.onFull === 'newest' || (full",
    to: 'true || (full',
  },
  {
    name: 'a waiter who left stays in the order of arrival',
    file: 'tree/queues.ts',
    from: `const queue = this.#waiters.queueOf(slot);
    this.waiting--;
    if (!isStored(this.#waiters.tokenOf(slot))) removeArrival(this, this.#waiters, slot);`,
    to: `const queue = this.#waiters.queueOf(slot);
    this.waiting--;`,
  },
  {
    name: 'a queue is refilled from its stored requests only by the next arrival',
    file: 'tree/queues.ts',
    from: `    this.#pull(queue);
    if (queue.position >= 0) this.#headChanged(queue);`,
    to: '    if (queue.position >= 0) this.#headChanged(queue);',
  },
  {
    name: 'a stored request is taken as an arrival although it is older than the head of its queue',
    file: 'tree/queues.ts',
    from: 'if (queue.head !== NO_SLOT && waiters.orderOf(queue.head) < stored.orderOf(entry)) return false;',
    to: 'if (queue.head !== NO_SLOT) return false;',
  },
  {
    name: 'a cancelled stored request is delivered',
    file: 'tree/stored-requests.ts',
    from: 'if (entry === NONE || this.isQueued(entry)) return entry;',
    to: 'if (entry === NONE || this.slotOf(entry) === NONE) return entry;',
  },
  {
    name: 'the floor comes one admission late',
    file: 'tree/group-node.ts',
    from: 'this.sinceOverdue < floor.every - 1',
    to: 'this.sinceOverdue < floor.every',
  },
  {
    name: 'a debit has no bound',
    file: 'gate/release.ts',
    from: 'const cost = Math.min(beyond, Math.max(0, Math.floor(room)));',
    to: 'const cost = beyond;',
  },
  {
    name: 'the time to come back is that of a lease that has been renewed',
    file: 'leases/lease-ends.ts',
    from: 'if (lease.ended === undefined && lease.expiresAt === known) return lease.expiresAt;',
    to: 'if (lease.ended === undefined) return known as Instant;',
  },
];
