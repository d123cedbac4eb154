import { describe, expect, test } from 'vitest';
import { commandOf, type KeyPress } from '../../dashboard/shortcuts.ts';

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({ key, ctrl: false, other: false, typing: false, ...more });

describe('keys', () => {
  test('letters, arrows and named keys are commands', () => {
    for (const [key, command] of [
      ['j', 'j'],
      ['ArrowDown', 'j'],
      ['ArrowUp', 'k'],
      ['Enter', 'Enter'],
      ['Escape', 'Escape'],
      ['/', '/'],
      ['?', '?'],
      ['3', '3'],
    ] as const)
      expect(commandOf(press(key), undefined, 0, true).command).toBe(command);
  });

  test('g begins a sequence that lasts a second and a half', () => {
    const first = commandOf(press('g'), undefined, 1000, true);
    expect(first).toEqual({ pending: { key: 'g', at: 1000 } });
    expect(commandOf(press('d'), first.pending, 1900, true)).toEqual({ command: 'g d' });
    expect(commandOf(press('d'), first.pending, 2600, true)).toEqual({ command: 'd' });
    expect(commandOf(press('Shift'), first.pending, 1900, true)).toEqual(first);
  });

  test('while an input has the focus, letters and arrows are its own, and Escape leaves it', () => {
    for (const key of ['p', '/', 'ArrowDown', 'Enter', 'g']) expect(commandOf(press(key, { typing: true }), undefined, 0, true)).toEqual({});
    expect(commandOf(press('Escape', { typing: true }), undefined, 0, true).command).toBe('Escape');
  });

  test('single letters can be turned off; the rest of the keyboard stays', () => {
    expect(commandOf(press('p'), undefined, 0, false)).toEqual({});
    expect(commandOf(press('ArrowDown'), undefined, 0, false).command).toBe('j');
    expect(commandOf(press('Enter'), undefined, 0, false).command).toBe('Enter');
  });

  test('Enter alone confirms nothing, Ctrl Enter does, also from an input; keys of the browser are left to it', () => {
    expect(commandOf(press('Enter', { ctrl: true, typing: true }), undefined, 0, true).command).toBe('Ctrl Enter');
    expect(commandOf(press('r', { ctrl: true }), undefined, 0, true)).toEqual({});
    expect(commandOf(press('p', { other: true }), undefined, 0, true)).toEqual({ pending: undefined });
  });
});
