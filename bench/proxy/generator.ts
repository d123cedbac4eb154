import { resolve } from 'node:path';
import { LOAD_CPU, runPinned } from '../lib/pinned.ts';
import type { PhaseFigures, Plan } from './plan.ts';

const OPEN_LOOP = resolve('bench/proxy/open-loop.ts');

/** Runs an open loop to its end on the processor of the load. */
export async function openLoop(plan: Plan): Promise<readonly PhaseFigures[]> {
  const seconds = plan.phases.reduce((sum, phase) => sum + phase.seconds, 0);
  const { out } = await runPinned(LOAD_CPU, [process.execPath, OPEN_LOOP, JSON.stringify(plan)], seconds + 20);
  const line = out.split('\n').find((each) => each.startsWith('[{'));
  if (line === undefined) throw new Error(`The generator said: ${out}`);
  return JSON.parse(line) as readonly PhaseFigures[];
}
