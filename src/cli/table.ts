import type { Command } from './command.ts';

/** Every command by name; each is loaded when it is run, so that `sluice help` need not load the server. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand,
  'gateway-queue': async () => (await import('./gateway-queue.ts')).gatewayQueueCommand,
  check: async () => (await import('./check.ts')).check,
  acquire: async () => (await import('./acquire.ts')).acquire,
  run: async () => (await import('./run.ts')).run,
  import: async () => (await import('./import.ts')).importCommand,
  requests: async () => (await import('./requests.ts')).requests,
  simulate: async () => (await import('./simulate.ts')).simulate,
  groups: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.groups,
  group: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.group,
  waiters: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.waiters,
  leases: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.leases,
  pause: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.pause,
  resume: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.resume,
  override: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.override,
  evict: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.evict,
  revoke: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.revoke,
  release: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.release,
  keys: async () => (await import('./keys.ts')).keys,
  top: async () => (await import('./top.ts')).top,
  completion: async () => (await import('./completion.ts')).completionOf(COMMANDS),
};
