import { describe, expect, it } from 'vitest';
import { selectEngine, type UwsSource } from '../../src/http/select-engine.ts';
import type { UwsModule } from '../../src/http/uws/binding.ts';

const needs = { clientCa: false };
const sound: UwsSource = { load: async () => ({}) as UwsModule, probe: async () => undefined };
const flawed: UwsSource = { ...sound, probe: async () => 'does something wrong' };
const absent: UwsSource = { ...sound, load: async () => Promise.reject(Object.assign(new Error('no'), { code: 'ERR_MODULE_NOT_FOUND' })) };
const broken: UwsSource = {
  ...sound,
  load: async () => Promise.reject(new Error("This version supports only so and so.\n\nError: /lib/libc.so.6: version `GLIBC_2.38' not found")),
};

describe('the choice of an engine', () => {
  it('is node:http by name, whatever is installed', async () => {
    expect(await selectEngine('node', needs, sound)).toMatchObject({ name: 'node', why: 'the configuration names it' });
  });

  it('is, by auto, uWebSockets.js where it is installed and passes its probe', async () => {
    expect(await selectEngine('auto', needs, sound)).toMatchObject({ name: 'uws' });
  });

  it('is, by auto, node:http where uWebSockets.js is not there, does not run, or has a known fault, and says which', async () => {
    expect(await selectEngine('auto', needs, absent)).toMatchObject({ name: 'node', why: 'uWebSockets.js is not installed' });
    expect((await selectEngine('auto', needs, broken)).why).toContain('GLIBC_2.38');
    expect(await selectEngine('auto', needs, flawed)).toMatchObject({ name: 'node', why: 'the installed release of uWebSockets.js does something wrong' });
  });

  it('is uWebSockets.js by name even with a known fault, and the log says so', async () => {
    expect(await selectEngine('uws', needs, flawed)).toMatchObject({ name: 'uws', why: expect.stringContaining('though') });
  });

  it('refuses uWebSockets.js by name where it is not to be had, saying what to do', async () => {
    await expect(selectEngine('uws', needs, absent)).rejects.toThrow(/not installed.*npm run uws/);
  });

  it('needs node:http for client certificates', async () => {
    expect(await selectEngine('auto', { clientCa: true }, sound)).toMatchObject({ name: 'node' });
    await expect(selectEngine('uws', { clientCa: true }, sound)).rejects.toThrow(/clientCa/);
  });
});
