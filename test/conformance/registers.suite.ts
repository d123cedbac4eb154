import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RegisterConflict, type Registers } from '../../src/coordination/registers/registers.ts';
import { CorruptRecord } from '../../src/storage/checksum.ts';

/** One disk that outlives its registers. */
export interface RegistersRig {
  open(): Promise<Registers>;
  damage(name: string): Promise<void>;
  end(): Promise<void>;
}

const text = (value: string) => new TextEncoder().encode(value);

/** What all registers do. */
export function registersSuite(name: string, rigged: () => Promise<RegistersRig>): void {
  describe(`registers: ${name}`, () => {
    let rig: RegistersRig;
    let registers: Registers;
    beforeEach(async () => {
      rig = await rigged();
      registers = await rig.open();
    });
    afterEach(() => rig.end());
    const value = async (from: Registers) => {
      const found = await from.read('r');
      return found && [found.revision, new TextDecoder().decode(found.bytes)];
    };

    it('is undefined before the first change, and then what was written last', async () => {
      expect(await registers.read('r')).toBeUndefined();
      const first = await registers.change('r', text('1'), 0);
      expect(await value(registers)).toEqual([first, '1']);
      const second = await registers.change('r', text('2'), first);
      expect(second).toBeGreaterThan(first);
      expect(await value(registers)).toEqual([second, '2']);
      expect(await registers.read('other')).toBeUndefined();
    });

    it('refuses a change from any other revision', async () => {
      await expect(registers.change('r', text('x'), 4)).rejects.toThrow(RegisterConflict);
      const first = await registers.change('r', text('1'), 0);
      await expect(registers.change('r', text('x'), 0)).rejects.toThrow(RegisterConflict);
      await expect(registers.change('r', text('x'), first + 1)).rejects.toThrow(RegisterConflict);
      expect(await value(registers)).toEqual([first, '1']);
    });

    it('lets one of many win', async () => {
      const racers = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => registers.change('r', text(`${index}`), 0)));
      expect(racers.filter((racer) => racer.status === 'fulfilled').length).toBe(1);
    });

    it('is seen by a second handle, whose change makes the first one conflict', async () => {
      const first = await registers.change('r', text('mine'), 0);
      const second = await rig.open();
      expect(await value(second)).toEqual([first, 'mine']);
      await second.change('r', text('theirs'), first);
      await expect(registers.change('r', text('again'), first)).rejects.toThrow(RegisterConflict);
      expect((await value(registers))?.[1]).toBe('theirs');
    });

    it('refuses a damaged value by its name', async () => {
      await registers.change('r', text('a value'), 0);
      await rig.damage('r');
      await expect(registers.read('r')).rejects.toThrow(new CorruptRecord('r'));
    });
  });
}
