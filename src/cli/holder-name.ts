import { hostname, userInfo } from 'node:os';
import { basename } from 'node:path';

/** Bytes of a holder's name at most, as the server takes it. */
const HOLDER_BYTES_MAX = 256;

/**
 * Returns the name of the caller, for people who look at waiters and leases: `user@host`, and `:command` where one is run. Of the command only its name: its arguments may hold
 * secrets. Control characters become `?`, and it ends at 256 bytes.
 */
export function holderName(env: Readonly<Record<string, string | undefined>>, command?: string): string {
  const whole = `${userName(env)}@${hostname()}${command === undefined ? '' : `:${basename(command)}`}`;
  let name = '';
  for (const letter of whole.replaceAll(/\p{Cc}/gu, '?')) {
    if (Buffer.byteLength(name + letter) > HOLDER_BYTES_MAX) break;
    name += letter;
  }
  return name;
}

/** A container may run under a number that has no name. */
function userName(env: Readonly<Record<string, string | undefined>>): string {
  try {
    return userInfo().username;
  } catch {
    return env['USER'] ?? 'unknown';
  }
}
