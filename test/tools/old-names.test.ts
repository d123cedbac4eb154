import { expect, test } from 'vitest';
import { judged, oldNamesIn, readOldNames } from '../../tools/old-names.ts';

const list = {
  words: { door: 'admission', wish: 'request' },
  names: { Course: 'Ticker', sluice_old_total: 'sluice_new_total' },
  allowed: [
    { names: ['wish'], in: 'src/wire/', why: 'a key on the wire' },
    { names: ['sluice_*'], in: 'CHANGELOG.md', why: 'tells of the renaming' },
    { names: ['door'], in: 'src/empty/', why: 'was cleaned since' },
  ],
};
const names = (text: string): readonly string[] => oldNamesIn('a.ts', text, list).map(({ name, line }) => `${line} ${name}`);

test('an old word is found alone, in the plural, and as a part of a name in any letters', () => {
  expect(names('the door\ndoors; atTheDoor, #wishesOf, DOOR_MAX, door_max')).toEqual(['1 door', '2 door', '2 door', '2 wish', '2 door', '2 door']);
});

test('a word that only holds the letters of an old one is none, and neither is a name in other letters', () => {
  expect(names('doorman, indoor, outdoors, Doorway; of course, sluice_old_total_more')).toEqual([]);
});

test('an old name is found whole and in its own letters', () => {
  expect(names('new Course(), `sluice_old_total`')).toEqual(['1 Course', '1 sluice_old_total']);
});

test('an allowance covers its names in its folder, and one that covers nothing is reported', () => {
  const found = [...oldNamesIn('src/wire/a.ts', 'wish door', list), ...oldNamesIn('CHANGELOG.md', 'sluice_old_total', list)];
  const { wrong, unused } = judged(found, list);
  expect(wrong.map(({ file, name }) => `${file} ${name}`)).toEqual(['src/wire/a.ts door']);
  expect(unused.map((each) => each.in)).toEqual(['src/empty/']);
});

test('the list of the repository gives a word to write instead for each, and a reason for each allowance', () => {
  const { words, names: whole, allowed } = readOldNames();
  expect(Object.entries({ ...words, ...whole }).filter(([name, instead]) => name === '' || instead === '')).toEqual([]);
  expect(allowed.filter(({ why }) => why.length < 10)).toEqual([]);
  expect(Object.keys(words).length + Object.keys(whole).length).toBeLessThan(100);
});
