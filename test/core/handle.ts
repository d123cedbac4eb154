import type { Permit } from '../../src/core/permit.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import type { GateRequest, WaiterRef } from '../../src/core/request.ts';
import { DECIDED } from '../../src/core/request.ts';
import type { Instant } from '../../src/core/time.ts';
import { SECOND } from '../../src/core/time.ts';
import { START } from './specs.ts';

/** One ask and what became of it. */
export class Handle {
  fate: 'waiting' | 'admitted' | 'refused' | 'cancelled' = 'waiting';
  /** When it was decided. */
  at: Instant | undefined;
  permit: Permit | undefined;
  refusal: Refusal | undefined;
  ref: WaiterRef = DECIDED;
  /** Outcomes told so far; more than one is a defect. */
  told = 0;
  /** The record is on disk (or none is needed): its caller was answered. */
  answered = false;
  readonly answer = (): void => {
    this.answered = true;
  };
  readonly name: string;
  readonly group: string;
  readonly ask: GateRequest;
  readonly askedAt: Instant;

  constructor(name: string, group: string, ask: GateRequest, askedAt: Instant) {
    this.name = name;
    this.group = group;
    this.ask = ask;
    this.askedAt = askedAt;
  }

  /** Seconds between the start of virtual time and the decision; undefined while it waits. */
  get seconds(): number | undefined {
    return this.at === undefined ? undefined : (this.at - START) / SECOND;
  }
}

/** The permit of an admitted handle; throws for any other. */
export function permitOf(handle: Handle): Permit {
  if (!handle.permit) throw new Error(`${handle.name} is ${handle.fate}, not admitted`);
  return handle.permit;
}
